# SPDX-License-Identifier: MIT
"""``send.py CHANNEL HOST HOW BODY [HEADER]...``: sends what is in the file BODY.

With CHANNEL ``argv`` BODY is the text itself. HOW says in which pieces: ``whole``, ``chunked``,
``writes`` (two), ``requests`` (two) or ``bytes``.
"""

import contextlib
import http.client
import pathlib
import socket
import ssl
import sys
import time

PAUSE_S = 0.02
"""So that pieces do not travel together."""


def pieces(body, how):
    """Cut as ``how`` says."""
    if how == "whole":
        return [body]
    if how == "bytes":
        return [body[i : i + 1] for i in range(len(body))]
    return [body[: len(body) // 2], body[len(body) // 2 :]]


def connect(channel, host):
    """Open a connection whose every ``sendall`` is a write of its own."""
    port = {"tls": 443, "http": 80, "tcp": 8443}[channel]
    stream = socket.create_connection((host, port), 5)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if channel == "tls":
        return ssl.create_default_context().wrap_socket(stream, server_hostname=host)
    return stream


def request(channel, host, how, body, headers):
    """Post the body, in one request but for ``requests``."""
    stream = connect(channel, host)
    for part in pieces(body, how) if how == "requests" else [body]:
        written = [part] if how == "requests" else pieces(part, how)
        length = f"Content-Length: {len(part)}"
        if how == "chunked":
            written = [b"%X\r\n%s\r\n" % (len(each), each) for each in written] + [b"0\r\n\r\n"]
            length = "Transfer-Encoding: chunked"
        lines = ["POST / HTTP/1.1", f"Host: {host}", "Keep-Alive: yes", length, *headers, "", ""]
        stream.sendall("\r\n".join(lines).encode())
        for each in written:
            stream.sendall(each)
            time.sleep(PAUSE_S if how == "writes" else 0)
        reply = http.client.HTTPResponse(stream)
        reply.begin()
        reply.read()
    stream.close()


def bare(channel, host, parts):
    """Send without any HTTP; the host's name first, so that the lab knows whose bytes these are."""
    if channel == "udp":
        family, _, _, _, target = socket.getaddrinfo(host, 9999, type=socket.SOCK_DGRAM)[0]
        stream = socket.socket(family, socket.SOCK_DGRAM)
        stream.connect(target)
    else:
        stream = connect(channel, host)
    for part in [host.encode(), *parts]:
        stream.send(part)
        time.sleep(PAUSE_S if len(parts) < 3 else 0)
    stream.close()


def ask(names):
    """Look every name up."""
    for name in names:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(name, 443)


def main(channel, host, how, body, *headers):
    """Do it."""
    if channel == "dns":
        ask(pathlib.Path(body).read_text().split())
        return
    content = body.encode() if channel == "argv" else pathlib.Path(body).read_bytes()
    channel = "tls" if channel == "argv" else channel
    if channel in ("tcp", "udp"):
        bare(channel, host, pieces(content, how))
    else:
        request(channel, host, how, content, headers)


if __name__ == "__main__":
    main(*sys.argv[1:])
