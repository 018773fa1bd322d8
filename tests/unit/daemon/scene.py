# SPDX-License-Identifier: MIT
"""An agent without a kernel: its sensor shows what a test wrote down."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakstop.daemon.agent import Agent
from leakstop.daemon.assemble import Guard, secret_views
from leakstop.daemon.control import Channel
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifeline import Lifeline
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.model.event import Event
from leakstop.model.verdict import Mode
from leakstop.policy.canonical import from_canonical, to_canonical, with_digest
from leakstop.policy.rules import Policy, Rule

END_NS = 10_000_000_000


class FakeSensor:
    """Shows the events it is given, and wakes the agent up as a ring buffer would."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._events: list[Event] = []
        self.closed = False
        self.show(*events)

    def show(self, *events: Event) -> None:
        """Let the agent find ``events``."""
        self._events += events
        os.write(self._writing, b"x")

    def start(self) -> None:
        """Nothing has to be loaded."""

    def fileno(self) -> int:
        """Readable when events wait."""
        return self._reading

    def poll(self, timeout_s: float) -> Iterator[Event]:
        """What waits."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, 4096)
        while self._events:
            yield self._events.pop(0)

    def look(self) -> None:
        """It is whole."""

    def close(self) -> None:
        """Take it down."""
        assert not self.closed
        self.closed = True
        os.close(self._reading)
        os.close(self._writing)


def make_policy(*rules: Rule, mode: Mode = Mode.BLOCK) -> Policy:
    """A policy with a digest of its own."""
    return with_digest(Policy(mode=mode, rules=rules))


def request(policy: Policy | None = None, **fields: Any) -> ArmRequest:
    """What an agent is asked to guard."""
    return ArmRequest(policy=to_canonical(policy or make_policy()), scope="command", **fields)


@dataclass
class Scene:
    """One agent with a client that talks to it from another thread."""

    directory: Path
    sensors: list[FakeSensor] = field(default_factory=list)
    note: str = ""
    refusal: Exception | None = None
    journal_fd: int = -1
    owner_uid: int = 0
    lifeline: Lifeline | None = None

    def raise_guard(self, asked: ArmRequest, directory: Path, **_: Any) -> Guard:
        """Stands for what loads the kernel."""
        if self.refusal is not None:
            raise self.refusal
        policy = from_canonical(asked.policy)
        views = secret_views(asked.secrets, policy)
        return Guard(asked, self.sensors.pop(0), policy, views, (), self.note)

    def play(self, client: Callable[[Channel], None]) -> Agent:
        """Serve until the end, while ``client`` asks; its failure is the test's failure."""
        path = self.directory / "events.ndjson"
        journal = Journal(self.journal_fd) if self.journal_fd >= 0 else Journal.create(path)
        agent = Agent(
            self.directory,
            journal,
            self.raise_guard,
            journal_path=path,
            owner_uid=self.owner_uid,
            lifeline=self.lifeline,
            clock_ns=lambda: END_NS,
        )
        ours, theirs = socket.socketpair()
        failures: list[BaseException] = []

        def talk() -> None:
            channel = Channel(ours)
            ours.settimeout(10)
            try:
                client(channel)
            except BaseException as error:  # noqa: BLE001 -- handed to the test
                failures.append(error)
            finally:
                channel.close()

        thread = threading.Thread(target=talk)
        thread.start()
        agent.serve(owner=Channel(theirs))
        thread.join(10)
        if failures:
            raise failures[0]
        return agent

    def journal(self) -> list[dict[str, Any]]:
        """The records that were written."""
        text = (self.directory / "events.ndjson").read_text()
        return [json.loads(line) for line in text.splitlines()]


def arm(channel: Channel, asked: ArmRequest, **fields: Any) -> dict[str, Any]:
    """Ask for a guard."""
    return channel.ask("arm", request=request_to_json(asked), **fields)
