# SPDX-License-Identifier: MIT
"""A portable sensor in a world that is told to it: processes, connections and DNS."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

from leakstop.model.flow import Transport
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import Home, NamePlace, Policy, PortRange, Protocol, Rule
from leakstop.secrets.inventory import Secret
from leakstop.sensor import proc
from leakstop.sensor.connections import Connection
from leakstop.sensor.heard import Answered, Asked, Message, Opened
from leakstop.sensor.portable import PortableSensor
from plans import plan_of

RESOLVER = "192.0.2.53"
HERE = "192.0.2.1"
HOME_IP, OTHER_IP = "198.51.100.10", "203.0.113.9"
TOKEN = Secret("TOKEN", secrets.token_hex(20).encode())
PLACED = Secret("PLACED", secrets.token_hex(20).encode())


def rule(name: str) -> Rule:
    ref = RuleRef(name, "policy.yml")
    return Rule(Action.ALLOW, NamePlace(name), Protocol.TLS, (PortRange(443, 443),), ref)


POLICY = Policy(
    rules=(rule("home.test"), rule("named.test")),
    homes={"PLACED": Home(False, (rule("home.test"),), ("home.test",))},
)


class World:
    """What the sensor's readers see."""

    def __init__(self) -> None:
        self.processes: dict[int, proc.Process] = {}
        self.connections: list[Connection] = []
        self.heard: list[Message] = []
        self.environ: dict[int, bytes] = {}
        self.lost_packets = 0

    def runs(self, pid: int, *argv: str | bytes, ppid: int = 1, start_ns: int = 0) -> None:
        raw = tuple(item if isinstance(item, bytes) else item.encode() for item in argv)
        exe = f"/usr/bin/{os.fsdecode(raw[0])}" if raw else ""
        self.processes[pid] = proc.Process(pid, ppid, 1000, start_ns or pid, exe, raw)

    def connects(self, pid: int, ip: str, port: int = 443, local_port: int = 40000) -> None:
        self.connections.append(Connection(pid, Transport.TCP, local_port, ip, port))

    def asks(self, name: str, port: int = 50000, resolver: str = RESOLVER) -> None:
        self.hears(Asked(name, "A", resolver, HERE, port, 7))

    def learns(self, name: str, address: str, port: int = 50000, resolver: str = RESOLVER) -> None:
        self.hears(Answered(name, (address,), 60, resolver, port, 7))

    def opens(self, ip: str, port: int = 443, local_port: int = 40000) -> None:
        self.hears(Opened(HERE, local_port, ip, port))

    def hears(self, message: Message) -> None:
        self.heard.append(message)
        os.write(self._pipe[1], b"x")

    # The kernel's answers: a socket's inode is its local port.

    def inode(self, transport: Transport, local: tuple[str, int], _: tuple[str, int]) -> int:
        held = [item for item in self.connections if item.transport is transport]
        return local[1] if local[1] in {item.local_port for item in held} else 0

    def sockets(self, pid: int) -> frozenset[int]:
        return frozenset(item.local_port for item in self.connections if item.pid == pid)

    # The wire.

    def fileno(self) -> int:
        return self._pipe[0]

    def receive(self) -> list[Message]:
        os.read(self._pipe[0], 1000)
        heard, self.heard = self.heard, []
        return heard

    def read(self, packets: list[Message]) -> Iterator[Message]:
        yield from packets

    def lost(self) -> int:
        lost, self.lost_packets = self.lost_packets, 0
        return lost

    def close(self) -> None:
        for end in self._pipe:
            os.close(end)

    @property
    def _pipe(self) -> tuple[int, int]:
        if not hasattr(self, "_ends"):
            self._ends = os.pipe()
        return self._ends


class Watch:
    """A started sensor; ``look`` returns what one look finds."""

    def __init__(self, world: World, **plan) -> None:
        self.sensor = PortableSensor(
            plan_of(plan.pop("policy", POLICY), (TOKEN, PLACED), resolvers=(RESOLVER,), **plan)
        )
        self.sensor.start()

    def look(self, kind=None):
        """A glance if something was heard, then a look, without the pauses between them."""
        events = []
        for _ in range(2):
            self.sensor._next_look_s = self.sensor._next_glance_s = self.sensor._spoken_s = 0.0
            events += self.sensor.poll(0)
        return [event for event in events if kind is None or isinstance(event, kind)]
