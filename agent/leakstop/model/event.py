# SPDX-License-Identifier: MIT
"""What a sensor saw. Events are all that the engine ever learns of the world.

An event holds no secret value: the sensor masks command lines and names before it builds
one, and says with ``SecretHit`` which secret was found and in which encoding. So the
journal (one event a line) and everything derived from it cannot leak.

``ts_ns`` is the boot clock in nanoseconds; ``pid`` is a thread group id in the initial
pid namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.container import ContainerAsked, ContainerSeen
from leakstop.model.coverage import Finished, Gap, Loss
from leakstop.model.flow import Stream, Transport
from leakstop.model.tamper import Tamper
from leakstop.model.verdict import Action, Carriage, Mode, Reason


@dataclass(frozen=True, slots=True)
class SecretHit:
    """A known secret was found in something."""

    secret: str
    """The secret's name."""
    encoding: str
    """How it was written: ``raw``, ``base64``, ``base64url``, ``base64-twice``, ``base32``,
    ``hex``, ``percent``, ``json``, ``shell`` or ``reversed``; of a late find in a payload the way
    to it, the outermost first: ``gzip > json``."""


@dataclass(frozen=True, slots=True)
class Started:
    """The guard is in force. The first event of every journal."""

    ts_ns: int
    wall_s: float
    """Wall clock at ``ts_ns``, seconds since the epoch: the anchor for printed times."""
    sensor: str
    """``kernel`` or ``portable``."""
    mode: Mode
    scope: str
    """What is guarded: ``command``, ``machine`` or ``cgroup``."""
    policy_digest: str
    secrets: tuple[str, ...]
    """Names of the secrets that are watched."""
    worker_pid: int = 0
    """The runner's worker, whose direct children are steps; 0 if there is none."""
    notes: tuple[str, ...] = ()
    """What this guard cannot see, in whole sentences."""


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A process that was already running when the guard started."""

    ts_ns: int
    pid: int
    ppid: int
    exe: str
    argv: tuple[str, ...]
    start_ns: int = 0
    tag: int = 0


@dataclass(frozen=True, slots=True)
class Fork:
    """A process was made."""

    ts_ns: int
    pid: int
    ppid: int
    start_ns: int = 0
    tag: int = 0
    """To whom it belongs: ``Tag``, or its step's own."""


@dataclass(frozen=True, slots=True)
class Exec:
    """A process became another program."""

    ts_ns: int
    pid: int
    ppid: int
    uid: int
    exe: str
    argv: tuple[str, ...]
    """Secrets masked."""
    argv_bytes: int
    """Length of the whole argument area."""
    truncated: bool
    """``argv`` is not whole; the kernel's scan was, unless ``unscanned`` says otherwise."""
    hits: tuple[SecretHit, ...] = ()
    unscanned: bool = False
    """A part of the arguments could not be read in the kernel."""
    start_ns: int = 0
    cgroup: int = 0
    """cgroup v2 id."""
    tag: int = 0
    program: str = ""
    """Path of the file that is run, of a script its interpreter's; empty if it has none here."""
    inode: int = 0
    """Of that file."""
    unlinked: bool = False
    """It has no name any more, or never had one (memfd_create)."""
    held: bool = False
    """It is stopped until the agent has said what its step may do."""


@dataclass(frozen=True, slots=True)
class Exit:
    """A process ended."""

    ts_ns: int
    pid: int
    code: int
    """Exit status as wait(2) encodes it."""


@dataclass(frozen=True, slots=True)
class StepSeen:
    """A direct child of the runner's worker began a step."""

    ts_ns: int
    pid: int
    step: str
    """What people see."""
    names: tuple[str, ...] = ()
    """All that it is called in a policy: that, its id, its ``uses:`` without the ref."""
    source: str = ""
    """Where the name is from: ``runner log``, ``environment``."""
    place: str = ""
    """``file:line`` of the workflow where the step stands, as far as known."""


@dataclass(frozen=True, slots=True)
class Question:
    """A DNS question."""

    ts_ns: int
    pid: int
    name: str
    """Lower case, no trailing dot, secrets masked."""
    qtype: str
    """``A``, ``AAAA``, ``TXT`` … or ``TYPE65``."""
    resolver: str
    policy: Action
    applied: Action
    reason: Reason
    carriage: Carriage = Carriage.NONE
    hits: tuple[SecretHit, ...] = ()
    """Secrets in the name itself, or carried by the process that asks."""
    in_name: bool = False
    """``hits`` were found in the name (else on the command line of the asker)."""
    killed: bool = False
    """The kernel killed the process; otherwise the agent has to."""
    cookie: int = 0
    """Denied over TCP: the socket's cookie, by which the agent ends the connection. Else 0."""
    begun: bool = False
    """A part of what was found in the name has left before, in other questions."""
    narrowed: bool = False
    """Whoever made the socket may less by scoped rules than ``pid``, so this was judged as both."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The trusted resolver answered a question that was asked."""

    ts_ns: int
    name: str
    """The name that was asked."""
    addresses: tuple[str, ...]
    ttl_s: int
    refused: tuple[str, ...] = ()
    """Where the name may not lead: private addresses, unless a rule allows exactly this name, and
    those of no network. A connection there is judged without the name."""


@dataclass(frozen=True, slots=True)
class Connect:
    """A process tried to reach an address: a connect, or a send without one."""

    ts_ns: int
    pid: int
    transport: Transport
    ip: str
    port: int
    via: str
    """``connect``, ``send``, ``socket``, ``accept`` (the peer connected), ``older`` (a socket from
    before the guard) or ``link`` (a packet that no socket hook saw)."""
    policy: Action
    applied: Action
    reason: Reason
    carriage: Carriage = Carriage.NONE
    hits: tuple[SecretHit, ...] = ()
    """Secrets that the process has on its command line."""
    killed: bool = False
    """The kernel killed the process; otherwise the agent has to."""
    cookie: int = 0
    """The socket's cookie where a connection that exists was denied, so that it can be ended."""
    family: str = ""
    """The kind of a socket that is not IP's: ``packet``, ``vsock``, ``xdp``, or its number."""
    narrowed: bool = False
    """As of a ``Question``."""


@dataclass(frozen=True, slots=True)
class StreamSeen:
    """A TCP connection has shown for whom it is meant.

    Denied, nothing of it leaves from here on, and the agent ends the connection.
    """

    ts_ns: int
    pid: int
    ip: str
    port: int
    stream: Stream
    name: str
    """The name that it shows (lower case, no trailing dot, secrets masked), empty if none."""
    name_port: int
    """The port that the name was judged for: behind a proxy's CONNECT another than ``port``."""
    policy: Action
    applied: Action
    reason: Reason
    cookie: int = 0
    """The socket's cookie, by which it can be destroyed."""
    carriage: Carriage = Carriage.NONE
    hits: tuple[SecretHit, ...] = ()
    """Secrets that the process has on its command line."""
    killed: bool = False
    """The kernel killed the process; otherwise the agent has to."""
    narrowed: bool = False
    """As of a ``Question``."""


@dataclass(frozen=True, slots=True)
class Write:
    """A process sends something with a secret in it."""

    ts_ns: int
    pid: int
    channel: Channel
    transport: Transport
    ip: str
    """Where to; empty if the process has no connection that is known."""
    port: int
    name: str
    """The host that the connection is for, as far as known (lower case, secrets masked)."""
    tie: Tie
    library: Library
    size: int
    """Bytes of this write."""
    policy: Action
    applied: Action
    """Denied, the write never took place."""
    reason: Reason
    carriage: Carriage = Carriage.NONE
    hits: tuple[SecretHit, ...] = ()
    killed: bool = False
    """The kernel killed the process; otherwise the agent has to."""
    cookie: int = 0
    """Of the socket, to end the connection; 0 if there is none to end."""
    late: bool = False
    """Found by the agent in a copy, behind an encoding that the kernel does not look through: it
    had been sent by then."""
    object: int = 0
    """Address of the TLS object in the process, 0 if there is none."""
    begun: bool = False
    """A part of what was found has left before, in another write."""


@dataclass(frozen=True, slots=True)
class TlsSeen:
    """The plaintext of a TLS connection is looked into, from its first byte."""

    ts_ns: int
    pid: int
    library: Library
    name: str
    """The host that the TLS object is for (lower case, secrets masked), empty if it has none."""
    object: int = 0
    """Its address in the process."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A program whose TLS cannot be looked into."""

    ts_ns: int
    pid: int
    why: str
    """Words that follow "not inspected:", e.g. ``a static Go program without symbols``."""


@dataclass(frozen=True, slots=True)
class SecretFound:
    """A secret that nobody declared: from now on it is watched as well. Or one that is watched
    already, in another step."""

    ts_ns: int
    name: str
    """Of its variable, or of the file and the key in it. Unique among the job's secrets."""
    source: str
    """Where it was found, e.g. ``environment of bash``, ``/home/runner/.npmrc``, ``canary``."""
    format: str
    """Kind of its format (``secrets/catalogue.py``), or empty."""
    digest: str
    """First characters of a salted hash of the value: tells two apart and gives nothing away."""
    home: tuple[str, ...] = ()
    """Where it may go, as written; empty when it is unplaced."""
    placed_by: str = ""
    """``policy``, ``format`` or empty."""
    guessed: bool = False
    """Nobody declared it, nobody placed it."""
    size: int = 0
    """Bytes of its value."""
    pid: int = 0
    """The process in whose environment it was found; 0 if it was found elsewhere."""


@dataclass(frozen=True, slots=True)
class ShapeSeen:
    """Something of the shape of a token was sent, and its value is none that is known."""

    ts_ns: int
    pid: int
    format: str
    """Kind of the format."""
    channel: Channel
    ip: str
    port: int
    name: str
    at_home: bool
    """The place is a home of the format."""
    certain: bool = False
    """A checksum in it proves that it is one."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A process bound a TCP socket to an address of this machine, as servers do."""

    ts_ns: int
    pid: int
    ip: str
    """Of all interfaces: ``0.0.0.0`` or ``::``."""
    port: int


Event = Union[
    Started,
    ProcessSeen,
    Fork,
    Exec,
    Exit,
    StepSeen,
    Question,
    Answer,
    Connect,
    StreamSeen,
    Write,
    TlsSeen,
    Opaque,
    SecretFound,
    ShapeSeen,
    Bound,
    ContainerSeen,
    ContainerAsked,
    Tamper,
    Loss,
    Gap,
    Finished,
]
