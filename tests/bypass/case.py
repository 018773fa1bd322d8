# SPDX-License-Identifier: MIT
"""What a case is: one way of sending bytes, and what has to come of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

THIEF = ("198.51.100.99", "2001:db8::99")
"""Nobody names it, no name leads to it."""
FRIEND = ("203.0.113.21", "2001:db8::21")
"""The policy names it, as the case needs it."""
SHARED = "203.0.113.22"
"""Both are there, as on a content delivery network: ``friend.test`` and ``thief.test``."""
RESOLVER = "203.0.113.53"
GIVER = "\0bypass-giver"
"""An abstract unix socket."""
JOB = ("203.0.113.2", "2001:db8::2")
"""The job's own addresses in the lab."""
TCP_PORT, UDP_PORT = 8443, 9999


@dataclass
class Parcel:
    """What is to be sent, and where."""

    to: str
    port: int
    data: bytes
    friend: str
    """An address that the policy allows: some ways begin there."""
    held: str = ""
    """A directory, if the guard begins while the sender runs."""
    begun: float = field(default_factory=time.monotonic)
    """When the sender began to send."""

    def restart(self) -> None:
        """Forget the time that was spent on waiting for others."""
        self.begun = time.monotonic()

    def hold(self) -> None:
        """Say that all is prepared, and wait until the guard is in force."""
        if self.held:
            Path(self.held, "ready").touch()
            while not Path(self.held, "go").exists():
                time.sleep(0.005)
            self.restart()


Send = Callable[[Parcel], None]
"""Sends a parcel, and raises the OSError that it met."""


@dataclass(frozen=True)
class Case:
    """One way of sending bytes, as the tests of this folder go through them."""

    name: str
    to: str = THIEF[0]
    port: int = UDP_PORT
    friend: str = FRIEND[0]
    protocol: str = "udp"
    """As reports name it; ``other`` covers everything that no rule can ask for."""
    at_socket: bool = False
    """No rule can ask for it, so it may be refused before there is an address to report."""
    detour: bool = False
    """``friend`` is allowed while the thief is sent to: the way begins at ``friend``."""
    rule: str = "udp://{friend}:{port}"
    """Lets the twin pass."""
    twin: str = ""
    """The sender that does the same in a permitted way; by default this one, to ``friend``."""
    stays: bool = False
    """The twin's parcel goes to nobody outside."""
    errors: tuple[str, ...] = ("EPERM",)
    """What a sender may be told in block mode; empty for nothing at all."""
    unheard: tuple[str, ...] = ()
    """Errors that refuse a means, not a destination: no report need list them."""
    absent: str = ""
    """The error of a kernel without this transport: unguarded it is then met, and nothing sent."""
    opened: bool = False
    """Nothing is sent, there is nobody in the lab to get it: opening alone must be refused."""
    audited: bool = True
    """The programs at the sockets see it."""
    visited: bool = False
    """The other side connects to the job, from ``to`` and ``port``."""
    given: bool = False
    """An unguarded process waits at ``GIVER`` and makes sockets for whoever asks."""
    older: bool = False
    """The sender waits in ``hold()`` until the guard is in force."""
    also: str = ""
    """How another destination begins that is refused on the way."""
    gap: str = ""
    """Its number in docs/threat-model.md: it does leave, and a test notices when that ends."""
    scopes: tuple[str, ...] = ("run", "start")
    """Where it is stopped: ``run`` takes privileges away, ``start`` guards a running machine."""


CASES: dict[str, Case] = {}
SENDERS: dict[str, Send] = {}


def case(name: str, **fields: object) -> Callable[[Send], Send]:
    """Declare the decorated sender as a case; several cases may share a sender."""
    CASES[name] = Case(name, **fields)  # type: ignore[arg-type]
    return benign(name)


def case6(name: str, **fields: object) -> Callable[[Send], Send]:
    """Declare a case that goes over IPv6."""
    usual = {"to": THIEF[1], "friend": FRIEND[1], "rule": "udp://[{friend}]:{port}"}
    return case(name, **{**usual, **fields})


def benign(name: str) -> Callable[[Send], Send]:
    """Declare the decorated sender as a twin that is no attack to anywhere."""

    def declare(send: Send) -> Send:
        assert name not in SENDERS, f"two senders are called {name}"
        SENDERS[name] = send
        return send

    return declare
