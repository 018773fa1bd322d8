# SPDX-License-Identifier: MIT
"""``websocket.py HOST``: $API_TOKEN in the upgrade and in a masked frame (RFC 6455)."""

import base64
import os
import socket
import ssl
import sys

host = sys.argv[1]
token = os.environ["API_TOKEN"].encode()
stream = ssl.create_default_context().wrap_socket(
    socket.create_connection((host, 443)), server_hostname=host
)
key = base64.b64encode(os.urandom(16)).decode()
lines = [
    "GET /live HTTP/1.1",
    f"Host: {host}",
    f"Authorization: Bearer {token.decode()}",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {key}",
]
stream.sendall("\r\n".join([*lines, "", ""]).encode())
assert b" 101 " in stream.recv(4096)
mask = os.urandom(4)
hidden = bytes(byte ^ mask[i % 4] for i, byte in enumerate(token))
stream.sendall(bytes([0x82, 0x80 | len(token)]) + mask + hidden)
stream.close()
