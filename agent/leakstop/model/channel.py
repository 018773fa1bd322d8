# SPDX-License-Identifier: MIT
"""How something is sent: in what, by whose function, and how it is known where to."""

from __future__ import annotations

from enum import Enum


class Channel(str, Enum):
    """How something was about to leave. ``bpf/leakstop.h`` has this order."""

    TLS = "tls"
    """Plaintext on its way into a TLS connection."""
    TCP = "tcp"
    """In the open, over TCP."""
    UDP = "udp"


class Library(str, Enum):
    """Whose function was given the plaintext. ``bpf/leakstop.h`` has this order."""

    NONE = ""
    """No library's: a packet."""
    OPENSSL = "OpenSSL"
    """And BoringSSL, which has its functions."""
    GNUTLS = "GnuTLS"
    NSS = "NSS"
    GO = "Go"
    RUSTLS = "rustls"


class Tie(str, Enum):
    """How a write is known to go where it goes. ``bpf/leakstop.h`` has this order."""

    SOCKET = "socket"
    """It is the socket's own packet."""
    NAME = "name"
    """The TLS object has a name, and the process's socket showed the same, or a relay's."""
    FLOWS = "flows"
    """The worst of all connections that the process has open."""
    NONE = "none"
    """It has none."""
