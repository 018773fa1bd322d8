# SPDX-License-Identifier: MIT
"""A guarded cgroup in a network of its own, whose writes to a library of ours are scanned."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bpf.hellos import hello, records, server_name
from lab import cgroup, tokens
from lab.namespace import Namespace
from leakstop.bpf import fill
from leakstop.bpf.libbpf import Object, library
from leakstop.bpf.records import EventPlaintext, Lost
from leakstop.bpf.ring import Ring
from leakstop.model.channel import Library
from leakstop.model.event import Event, TlsSeen, Write
from leakstop.model.verdict import Action, Leak, Mode, RuleRef
from leakstop.policy.rules import Home, NamePlace, Policy, PortRange, Protocol, Rule
from leakstop.policy.tables import compile_tables, vector_bytes
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import NeedleTable, table_of
from leakstop.sensor import kernel
from leakstop.sensor.decode import Decoder
from leakstop.sensor.load import load, uprobes

HOME, OTHER, ELSEWHERE, BARE = "203.0.113.10", "203.0.113.30", "203.0.113.40", "198.51.100.66"
NAMES = {HOME: "api.home.test", OTHER: "other.test", ELSEWHERE: "elsewhere.test"}
SOURCE, CLIENT = (
    Path(__file__).with_name("tls_library.c"),
    Path(__file__).with_name("tls_client.py"),
)
_PROBES = {
    "SSL_write": "on_tls_write",
    "SSL_write_ex": "on_tls_write",
    "SSL_ctrl": "on_tls_ctrl",
    "SSL_free": "on_tls_free",
    "gnutls_server_name_set": "on_gnutls_host",
    "SSL_SetURL": "on_tls_host",
}
_SLOTS, _SLOT_MAX = 64, 8192
"""WRITINGS_MAX, and more than a slot has: the kernel takes as much as there is."""


@dataclass(frozen=True)
class Done:
    """What a client did, and what was seen of it."""

    code: int
    writes: int
    """How often the library's function ran."""
    events: tuple[Event, ...]
    plaintexts: tuple[tuple[int, int, bytes], ...]
    """Object, offset and bytes."""
    lost: dict[str, int]
    said: str

    @property
    def found(self) -> list[Write]:
        """Writes with a secret in them."""
        return [event for event in self.events if isinstance(event, Write)]

    @property
    def seen(self) -> list[TlsSeen]:
        """Objects whose plaintext is seen."""
        return [event for event in self.events if isinstance(event, TlsSeen)]


class Plane:
    """The programs, their tables, and a cgroup. ``token`` has a home, ``loose`` has none."""

    def __init__(
        self, opened: Object, network: Network, group: Path, library_path: Path, known: Known
    ) -> None:
        self.opened, self.token, self.loose = opened, known.token, known.loose
        self.listeners = network.listeners
        self._space, self.group, self._library = network.space, group, library_path
        self._decoder = Decoder(known.needles, Masker(known.secrets))
        self._events: list[Event] = []
        self._plaintexts: list[tuple[int, int, bytes]] = []
        self._ring = Ring(library(), opened.map("events"), self._on_event)
        self._pieces = Ring(library(), opened.map("plaintexts"), self._on_piece)

    def close(self) -> None:
        """Stop reading."""
        self._ring.close()
        self._pieces.close()

    def _on_event(self, address: int, size: int) -> None:
        self._events.append(self._decoder.decode(address, size))

    def _on_piece(self, address: int, size: int) -> None:
        raw = ctypes.string_at(address, size)
        piece = EventPlaintext.from_buffer_copy(raw.ljust(ctypes.sizeof(EventPlaintext), b"\0"))
        text = raw[EventPlaintext.bytes.offset :][: piece.len]
        self._plaintexts.append((piece.stream, piece.offset, text))

    def run(self, *steps: Sequence[Any], guarded: bool = True) -> Done:
        """Run a client in the cgroup, or beside it."""
        told = json.dumps({"library": str(self._library), "steps": steps})
        return self.execute([sys.executable, str(CLIENT)], told, guarded=guarded)

    def execute(self, command: Sequence[str], told: str, *, guarded: bool = True) -> Done:
        """Run a program, which is told something on its standard input."""
        before = self.losses()
        if guarded:
            command = cgroup.command_in(self.group, command)
        done = self._space.call(
            lambda: subprocess.run(command, input=told, text=True, capture_output=True, timeout=60)
        )
        self._ring.consume()
        self._pieces.consume()
        events, self._events = tuple(self._events), []
        pieces, self._plaintexts = tuple(self._plaintexts), []
        lost = {name: count - before[name] for name, count in self.losses().items()}
        lost = {name: count for name, count in lost.items() if count}
        return Done(done.returncode, done.stdout.count("w"), events, pieces, lost, done.stderr)

    def losses(self) -> dict[str, int]:
        """What could not be done, by its kind."""
        table, cpus = self.opened.map("losses"), kernel._possible_cpus()
        counts = {}
        for kind in Lost:
            raw = table.lookup(int(kind).to_bytes(4, "little"), 8 * cpus) or b""
            each = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
            counts[kind.name.lower()] = sum(each)
        return counts

    @contextmanager
    def no_memory(self) -> Iterator[None]:
        """All that the programs have to work in is taken."""
        self._set_slots(1)
        try:
            yield
        finally:
            self._set_slots(0)

    def _set_slots(self, busy: int) -> None:
        table = self.opened.map("writings")
        for slot in range(_SLOTS):
            table.update(slot.to_bytes(4, "little"), bytes((busy,)).ljust(_SLOT_MAX, b"\0"))


@dataclass(frozen=True)
class Network:
    """A network of its own, and servers that nobody serves yet, by address."""

    space: Namespace
    listeners: dict[str, socket.socket]


@dataclass(frozen=True)
class Known:
    """Two secrets and their needles."""

    token: str
    loose: str

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """As they are declared."""
        return (Secret("TOKEN", self.token.encode()), Secret("LOOSE", self.loose.encode()))

    @property
    def needles(self) -> NeedleTable:
        """Of both."""
        return table_of(self.secrets)


def connect(address: str) -> tuple[str, str, int, str]:
    """The step that connects to a host and shows its name."""
    name = NAMES.get(address, "")
    return ("connect", address, 443, records(hello(server_name(name))).hex() if name else "")


def policy(mode: Mode, leak: Leak = Leak.KILL) -> Policy:
    """``TOKEN`` belongs to one host; a rule names that one and another."""
    rules = tuple(
        Rule(
            Action.ALLOW,
            NamePlace(NAMES[address]),
            Protocol.TLS,
            (PortRange(443, 443),),
            RuleRef(NAMES[address], "test"),
        )
        for address in (HOME, OTHER)
    )
    home = Home(False, rules[:1], (NAMES[HOME],))
    return Policy(mode=mode, leak=leak, rules=rules, homes={"TOKEN": home})


@contextmanager
def plane(
    library_path: Path,
    mode: Mode,
    leak: Leak = Leak.KILL,
    copy: int = fill.COPY,
    kind: Library = Library.OPENSSL,
) -> Iterator[Plane]:
    """Load and attach everything; what the library exports is probed."""
    known = Known(tokens.home_made().value, tokens.home_made().value)
    rules = policy(mode, leak)
    tables = compile_tables(rules)
    with ExitStack() as cleanup:
        group = cleanup.enter_context(cgroup.child())
        network = _network(cleanup)
        opened = load(
            rules, tables, known.needles, cgroup=group.stat().st_ino, copy=copy, worker=os.getpid()
        )
        cleanup.callback(opened.close)
        fill.fill(opened, rules, tables, known.needles, ())
        for address, name in NAMES.items():
            learned = vector_bytes(tables.lookup_name(name)) + (1 << 63).to_bytes(8, "little")
            opened.map("addresses").update(fill.mapped(address), learned)
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        cleanup.callback(os.close, directory)
        opened.map("guarded").update(bytes(4), directory.to_bytes(4, "little"))
        for program in ("on_socket", "on_ingress", "on_egress", "on_connect4", "on_connect6"):
            cleanup.callback(opened.attach_cgroup(program, directory).close)
        for symbol, offset in symbols(library_path).items():
            program, cookie = _PROBES[symbol], list(Library).index(kind)
            for probe in uprobes(opened).attach(program, library_path, [offset], cookie):
                cleanup.callback(probe.close)
        made = Plane(opened, network, group, library_path, known)
        cleanup.callback(made.close)
        yield made


def build(directory: Path) -> Path:
    """Compile the library."""
    target = directory / "libtls.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", target, SOURCE], check=True)
    return target


def symbols(path: Path) -> dict[str, int]:
    """Where the probed functions stand in the file."""
    listing = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout
    found = {name: int(at, 16) for at, name in re.findall(r"(\w+) T (\w+)", listing)}
    return {name: found[name] for name in _PROBES if name in found}


def _network(cleanup: ExitStack) -> Network:
    space = Namespace()
    cleanup.callback(space.close)
    addresses = (*NAMES, BARE)
    for line in ("link set lo up", *(f"address add {each}/32 dev lo" for each in addresses)):
        space.call(partial(subprocess.run, ["ip", *line.split()], check=True))
    listeners = {}
    for address in (*addresses, "127.0.0.1"):
        listeners[address] = space.call(partial(socket.create_server, (address, 443)))
        cleanup.callback(listeners[address].close)
    return Network(space, listeners)
