# SPDX-License-Identifier: MIT
"""``local.py service|unix|proxy HOST``: $API_TOKEN goes to a service of this machine itself."""

import http.client
import os
import select
import socket
import ssl
import sys
import threading

TOKEN = os.environ["API_TOKEN"]


def serve(listener):
    """Answer one request."""
    peer, _ = listener.accept()
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    peer.close()


def relay(listener):
    """A proxy that understands CONNECT, for one connection."""
    peer, _ = listener.accept()
    target = peer.recv(65536).split()[1].decode()
    host, _, port = target.rpartition(":")
    far = socket.create_connection((host, int(port)))
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    other = {peer: far, far: peer}
    while True:
        for ready in select.select([peer, far], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            other[ready].sendall(data)


def ask(connection, host):
    """Send the token in a header and in a body."""
    connection.request("POST", "/", TOKEN, {"Host": host, "Authorization": f"Bearer {TOKEN}"})
    assert connection.getresponse().read()


kind, host = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
listener.bind("service.sock" if kind == "unix" else ("127.0.0.1", 0))
listener.listen()
work = relay if kind == "proxy" else serve
threading.Thread(target=work, args=(listener,), daemon=True).start()
if kind == "unix":
    stream = socket.socket(socket.AF_UNIX)
    stream.connect("service.sock")
    stream.sendall(f"POST / HTTP/1.1\r\nAuthorization: {TOKEN}\r\n\r\n".encode())
    assert stream.recv(65536)
elif kind == "service":
    ask(http.client.HTTPConnection(*listener.getsockname()), "localhost")
else:
    context = ssl.create_default_context()
    through = http.client.HTTPSConnection(*listener.getsockname(), context=context)
    through.set_tunnel(host, 443)
    ask(through, host)
