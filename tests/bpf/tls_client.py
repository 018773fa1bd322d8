# SPDX-License-Identifier: MIT
"""Does what it is told on its standard input: connects, and writes to TLS objects.

A program of its own, because a socket belongs to the cgroup of the process that makes it; told
over its input, because what stands on a command line is scanned as that.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import socket
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PAGE = mmap.PAGESIZE
MAP_PRIVATE_ANONYMOUS, MAP_NORESERVE, PROT_NONE = 0x22, 0x4000, 0
HOSTNAME = 55
"""SSL_CTRL_SET_TLSEXT_HOSTNAME"""

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t) + (ctypes.c_int,) * 3 + (ctypes.c_long,)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Client:
    """The program; each step is a method and its arguments."""

    def __init__(self, library: str) -> None:
        self._tls = ctypes.CDLL(library)
        word, size = ctypes.c_void_p, ctypes.c_size_t
        self._tls.SSL_write.argtypes = (word, word, size)
        self._tls.SSL_ctrl.argtypes = (word, ctypes.c_int, ctypes.c_long, word)
        self._tls.SSL_free.argtypes = (word,)
        self._kept: list[Any] = []

    def tls(self, address: str, port: int, name: str, text: str) -> None:
        """Send by the TLS library that Python uses, and wait for the server to hang up."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection((address, port), 5) as sock,
            context.wrap_socket(sock, server_hostname=name) as channel,
        ):
            channel.sendall(text.encode())
            channel.recv(1)

    def connect(self, address: str, port: int, hello: str = "") -> None:
        """Open a connection, and show who it is for."""
        sock = socket.create_connection((address, port), 5)
        if hello:
            sock.sendall(bytes.fromhex(hello))
        self._kept.append(sock)

    def join(self, group: str) -> None:
        """Enter a cgroup: what is open by then is older than its guard."""
        Path(group, "cgroup.procs").write_text("0")

    def meet(self, here: str, there: str) -> None:
        """Say that this point is reached, and wait for the other side."""
        Path(here).touch()
        while not Path(there).exists():
            time.sleep(0.01)

    def accept(self, address: str, port: int, peer: str) -> None:
        """Take a connection from somebody."""
        with socket.create_server((address, port)) as server:
            client = socket.create_connection((address, port), 5, (peer, 0))
            sock, _ = server.accept()
        sock.sendall(b"hello")
        client.recv(5)
        self._kept += [client, sock]

    def name(self, at: int, text: str) -> None:
        """Say for which host an object is, as OpenSSL's users do."""
        self._tls.SSL_ctrl(at, HOSTNAME, 0, text.encode())

    def name_gnutls(self, at: int, text: str) -> None:
        """The same for GnuTLS, whose name has a length."""
        raw = text.encode()
        word, size = ctypes.c_void_p, ctypes.c_size_t
        self._tls.gnutls_server_name_set.argtypes = (word, ctypes.c_uint, word, size)
        self._tls.gnutls_server_name_set(at, 1, raw + b"behind", len(raw))

    def name_nss(self, at: int, text: str) -> None:
        """The same for NSS."""
        self._tls.SSL_SetURL.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._tls.SSL_SetURL(at, text.encode())

    def write(self, at: int, text: str, before: int = 0, behind: int = 0) -> None:
        """Write ``text`` with bytes of no meaning around it."""
        data = b"." * before + text.encode() + b"." * behind
        self._tls.SSL_write(at, data, len(data))

    def bytes(self, at: int, text: str) -> None:
        """Write a byte at a time."""
        for character in text:
            self._tls.SSL_write(at, character.encode(), 1)

    def free(self, at: int) -> None:
        """Free an object."""
        self._tls.SSL_free(at)

    def mapped(self, at: int, text: str) -> None:
        """Write from a file that nobody has looked at yet."""
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(b"." * PAGE + text.encode().ljust(PAGE, b"."))
            view = libc.mmap(None, 2 * PAGE, mmap.PROT_READ, mmap.MAP_PRIVATE, file.fileno(), 0)
        self._tls.SSL_write(at, view, 2 * PAGE)

    def holed(self, at: int, text: str) -> None:
        """Write pages of which the second cannot be read; ``text`` is in the first."""
        prot = mmap.PROT_READ | mmap.PROT_WRITE
        start = libc.mmap(None, 3 * PAGE, prot, MAP_PRIVATE_ANONYMOUS, -1, 0)
        ctypes.memmove(start + PAGE - 100, text.encode(), len(text))
        libc.mprotect(start + PAGE, PAGE, PROT_NONE)
        self._tls.SSL_write(at, start, 3 * PAGE)

    def huge(self, at: int, text: str, before: int) -> None:
        """Write ``text`` behind pages that nobody has touched: they take no memory."""
        size = before + len(text)
        prot, flags = mmap.PROT_READ | mmap.PROT_WRITE, MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE
        start = libc.mmap(None, size, prot, flags, -1, 0)
        ctypes.memmove(start + before, text.encode(), len(text))
        self._tls.SSL_write(at, start, size)

    def negative(self, at: int, text: str) -> None:
        """Write as many bytes as -1 has."""
        self._tls.SSL_write(at, text.encode(), 0xFFFFFFFF)

    def threads(self, at: int, text: str, count: int) -> None:
        """Write on ``count`` threads at once, each to an object of its own."""
        gate = threading.Barrier(count)

        def work(number: int) -> None:
            gate.wait()
            self.write(at + number, text, 5000, 5000)

        started = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for each in started:
            each.start()
        for each in started:
            each.join()


def main() -> None:
    """Do all steps."""
    told = json.load(sys.stdin)
    client = Client(told["library"])
    for step, *arguments in told["steps"]:
        getattr(client, step)(*arguments)


if __name__ == "__main__":
    main()
