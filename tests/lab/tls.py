# SPDX-License-Identifier: MIT
"""TLS for the lab's servers: one authority, a certificate for whatever name a client asks for."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import trustme


class Authority:
    """The lab's certificate authority."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="Leakstop lab")

    def write(self, path: Path) -> None:
        """Write the certificate that clients must trust."""
        self._ca.cert_pem.write_to_path(str(path))

    def server_context(
        self, addresses: Iterable[str], *, protocols: Sequence[str] = ()
    ) -> ssl.SSLContext:
        """Make a server's context, good for any name and, without one, for its addresses.

        ``protocols`` are agreed on by ALPN, the first that the client knows.
        """
        named = cache(lambda name: self._context([name], protocols))

        def choose(channel: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name:
                channel.context = named(name)

        context = self._context(addresses, protocols)
        context.sni_callback = choose
        return context

    def _context(self, identities: Iterable[str], protocols: Sequence[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        self._ca.issue_cert(*identities).configure_cert(context)
        return context


class Channel:
    """The server's end of one TLS connection, as bytes in and bytes out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False

    def receive(self, wire: bytes) -> bytes:
        """Take what came from the network and return the plaintext in it.

        Raises:
            ssl.SSLError: what came is not TLS, or the client did not accept our certificate.
        """
        self._incoming.write(wire)
        plain = bytearray()
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while chunk := self._tls.read(65536):
                plain += chunk
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return bytes(plain)

    def send(self, plain: bytes) -> None:
        """Encrypt ``plain``; ``pending`` then holds the result."""
        self._tls.write(plain)

    def pending(self) -> bytes:
        """Take what has to go to the network."""
        return self._outgoing.read()
