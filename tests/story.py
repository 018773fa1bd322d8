# SPDX-License-Identifier: MIT
"""Tests of the engine as stories: what is seen, and what has to come of it.

    guarded(allow("api.example.test"), mode=Mode.BLOCK).sees(
        fork(10, 1), execs(10, "curl"), asks(10, "collector.test", REFUSED),
    ).expects(Finds("denied-flow", destination="collector.test"), Ends(ExitCode.DENIED))

Events without a time get one from the story, a millisecond apart: there is no other clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any
from typing import Protocol as Interface

from leakstop.engine.commands import Command, Cut, Kill
from leakstop.engine.core import Engine
from leakstop.errors import ExitCode
from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.codec import event_from_json, event_to_json
from leakstop.model.coverage import Finished, Loss
from leakstop.model.event import (
    Answer,
    Bound,
    Connect,
    Event,
    Exec,
    Exit,
    Fork,
    Opaque,
    ProcessSeen,
    Question,
    SecretFound,
    SecretHit,
    ShapeSeen,
    Started,
    StepSeen,
    StreamSeen,
    TlsSeen,
    Write,
)
from leakstop.model.finding import Finding
from leakstop.model.flow import Stream, Transport
from leakstop.model.report import FlowRecord, Report, SecretView
from leakstop.model.verdict import Action, Carriage, Mode, Reason, RuleRef, Verdict
from leakstop.policy.rules import (
    AddressPlace,
    Home,
    NamePlace,
    Place,
    Policy,
    PortRange,
    Protocol,
    Rule,
)

MS = 1_000_000
DIGEST = "sha256:" + "0" * 64
WALL_S = 1_700_000_000.0

NAMED = Verdict(Action.ALLOW, Action.ALLOW, Reason.ALLOW_RULE)
"""A rule allows it."""
LOCAL = Verdict(Action.ALLOW, Action.ALLOW, Reason.LOCAL)
"""It stays on this machine."""
PASSED = Verdict(Action.DENY, Action.ALLOW, Reason.NOT_NAMED)
"""Nothing names it, in audit."""
REFUSED = Verdict(Action.DENY, Action.DENY, Reason.NOT_NAMED)
"""Nothing names it, in block."""
FORBIDDEN = Verdict(Action.DENY, Action.DENY, Reason.DENY_RULE)
"""A rule denies it."""
LEAKING = Verdict(Action.DENY, Action.DENY, Reason.LEAK)
"""Nothing names it, and it was stopped because of a secret."""
UNSHOWN = Verdict(Action.DENY, Action.DENY, Reason.IDENTITY)
"""A rule names it, but it is not what the rule asks for, in block."""
LEAKING_NAMED = Verdict(Action.ALLOW, Action.DENY, Reason.LEAK)
"""A rule allows it, but not with this secret."""


# -- the cast -----------------------------------------------------------------------------


def allow(place: str, port: int = 443) -> Rule:
    """A rule that allows a TCP destination."""
    return _rule(Action.ALLOW, place, Protocol.TCP, port)


def allow_tls(place: str, port: int = 443) -> Rule:
    """A rule that allows a destination which shows its name."""
    return _rule(Action.ALLOW, place, Protocol.TLS, port)


def deny(place: str, *, quiet: bool = False) -> Rule:
    """A rule that denies everything towards a place."""
    return replace(_rule(Action.DENY, place, Protocol.ANY, 0), quiet=quiet)


def home(*rules: Rule) -> Home:
    """A home made of rules, or nowhere."""
    return Home(not rules, rules, tuple(rule.ref.text for rule in rules) or ("nowhere",))


def secret(name: str, **fields: Any) -> SecretView:
    """A watched secret."""
    return SecretView(**{"name": name, "home": (), "kind": "", "revoke": "", **fields})


def carrying(*secrets: str, encoding: str = "raw") -> tuple[SecretHit, ...]:
    """Hits on secrets, by name."""
    return tuple(SecretHit(name, encoding) for name in secrets)


# -- what is seen -------------------------------------------------------------------------


def started(mode: Mode = Mode.AUDIT, **fields: Any) -> Started:
    """The guard is in force."""
    defaults: dict[str, Any] = {
        "ts_ns": 0,
        "wall_s": WALL_S,
        "sensor": "kernel",
        "mode": mode,
        "scope": "command",
        "policy_digest": DIGEST,
        "secrets": (),
    }
    return Started(**{**defaults, **fields})


def running(pid: int, ppid: int, exe: str, start_ns: int = 0) -> ProcessSeen:
    """A process was there before the guard."""
    return ProcessSeen(0, pid, ppid, _path(exe), (exe,), start_ns)


def fork(pid: int, ppid: int, start_ns: int = 0) -> Fork:
    """A process is made."""
    return Fork(0, pid, ppid, start_ns)


def execs(pid: int, exe: str, *argv: str, ppid: int = 0, **fields: Any) -> Exec:
    """A process becomes another program."""
    arguments = argv or (exe,)
    size = sum(len(argument) + 1 for argument in arguments)
    return Exec(
        **{
            "ts_ns": 0,
            "pid": pid,
            "ppid": ppid,
            "uid": 1001,
            "exe": _path(exe),
            "argv": arguments,
            "argv_bytes": size,
            "truncated": False,
            **fields,
        }
    )


def spawns(pid: int, ppid: int, exe: str, *argv: str) -> tuple[Event, ...]:
    """A process starts a program."""
    return fork(pid, ppid), execs(pid, exe, *argv, ppid=ppid)


def exits(pid: int, code: int = 0) -> Exit:
    """A process ends."""
    return Exit(0, pid, code)


def step(pid: int, name: str) -> StepSeen:
    """A child of the worker turns out to be a step."""
    return StepSeen(0, pid, name)


def asks(pid: int, name: str, verdict: Verdict = NAMED, **fields: Any) -> Question:
    """A process asks for a name."""
    defaults: dict[str, Any] = {"ts_ns": 0, "qtype": "A", "resolver": "192.0.2.53"}
    return Question(**{**defaults, "pid": pid, "name": name, **_judged(verdict), **fields})


def answers(name: str, *addresses: str, ttl_s: int = 60) -> Answer:
    """The resolver answers."""
    return Answer(0, name, addresses, ttl_s)


def connects(
    pid: int, ip: str, port: int = 443, verdict: Verdict = NAMED, **fields: Any
) -> Connect:
    """A process tries to reach an address."""
    defaults: dict[str, Any] = {"ts_ns": 0, "transport": Transport.TCP, "via": "connect"}
    where = {"pid": pid, "ip": ip, "port": port}
    return Connect(**{**defaults, **where, **_judged(verdict), **fields})


def shows(
    pid: int, ip: str, name: str = "", port: int = 443, verdict: Verdict = NAMED, **fields: Any
) -> StreamSeen:
    """A connection shows for whom it is meant."""
    defaults: dict[str, Any] = {"ts_ns": 0, "stream": Stream.TLS, "name_port": port}
    where = {"pid": pid, "ip": ip, "port": port, "name": name}
    return StreamSeen(**{**defaults, **where, **_judged(verdict), **fields})


def writes(
    pid: int, ip: str, name: str = "", port: int = 443, verdict: Verdict = NAMED, **fields: Any
) -> Write:
    """A process sends something with a secret in it."""
    defaults: dict[str, Any] = {
        "ts_ns": 0,
        "channel": Channel.TLS,
        "transport": Transport.TCP,
        "tie": Tie.NAME,
        "library": Library.OPENSSL,
        "size": 100,
    }
    where = {"pid": pid, "ip": ip, "port": port, "name": name}
    return Write(**{**defaults, **where, **_judged(verdict), **fields})


def looked_into(pid: int, name: str = "", library: Library = Library.OPENSSL) -> TlsSeen:
    """The plaintext of a TLS connection is seen."""
    return TlsSeen(0, pid, library, name)


def opaque(pid: int, why: str = "a static Go program without symbols") -> Opaque:
    """The TLS of a program cannot be looked into."""
    return Opaque(0, pid, why)


def found(name: str, **fields: Any) -> SecretFound:
    """A secret turns up that nobody declared."""
    defaults: dict[str, Any] = {
        "ts_ns": 0,
        "source": "environment of bash",
        "format": "",
        "digest": "9f3a61",
        "size": 40,
    }
    return SecretFound(**{**defaults, "name": name, **fields})


def sees_shape(pid: int, ip: str, format: str, name: str = "", **fields: Any) -> ShapeSeen:
    """Something looks like a token."""
    defaults: dict[str, Any] = {"channel": Channel.TLS, "port": 443, "at_home": False}
    where = {"ts_ns": 0, "pid": pid, "ip": ip, "format": format, "name": name}
    return ShapeSeen(**{**defaults, **where, **fields})


def binds(pid: int, port: int, ip: str = "127.0.0.1") -> Bound:
    """A process becomes the server behind a port."""
    return Bound(0, pid, ip, port)


def loses(count: int, where: str = "events") -> Loss:
    """Events are lost."""
    return Loss(0, where, count)


def finished() -> Finished:
    """The guard is taken down in order."""
    return Finished(0)


# -- what has to come of it ---------------------------------------------------------------


class Expectation(Interface):
    """Something that must be true now."""

    def check(self, story: Story) -> None:
        """Fail the test if it is not."""


class _Described:
    """Shows in a failure what was expected."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class Finds(_Described):
    """Exactly one finding has this id and these fields."""

    def __init__(self, id: str, **fields: Any) -> None:
        self.id = id
        self.fields = fields

    def check(self, story: Story) -> None:
        """Fail the test if none or several do."""
        found = story.report.findings
        fitting = [finding for finding in found if _fits(finding, {"id": self.id, **self.fields})]
        assert len(fitting) == 1, f"{len(fitting)} findings fit {self}\nof {_lines(found)}"


class FindsOnly(_Described):
    """The findings are these, most severe first."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def check(self, story: Story) -> None:
        """Fail the test on more, fewer, or another order."""
        found = story.report.findings
        assert tuple(finding.id for finding in found) == self.ids, _lines(found)


class Lists(_Described):
    """Exactly one flow record has this destination and these fields."""

    def __init__(self, destination: str, **fields: Any) -> None:
        self.destination = destination
        self.fields = fields

    def check(self, story: Story) -> None:
        """Fail the test if none or several do."""
        flows = story.report.flows
        wanted = {"destination": self.destination, **self.fields}
        fitting = [flow for flow in flows if _fits(flow, wanted)]
        assert len(fitting) == 1, f"{len(fitting)} flows fit {self}\nof {_lines(flows)}"


class Kills(_Described):
    """What was seen last made the engine kill exactly these processes."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids

    def check(self, story: Story) -> None:
        """Fail the test if others were, or none."""
        killed = [command.pid for command in story.commands if isinstance(command, Kill)]
        assert tuple(killed) == self.pids


class Cuts(_Described):
    """What was seen last made the engine end exactly these connections."""

    def __init__(self, *cookies: int) -> None:
        self.cookies = cookies

    def check(self, story: Story) -> None:
        """Fail the test if others were, or none."""
        cut = [command.cookie for command in story.commands if isinstance(command, Cut)]
        assert tuple(cut) == self.cookies


@dataclass(frozen=True)
class Notes:
    """One of the coverage notes holds this text."""

    text: str

    def check(self, story: Story) -> None:
        """Fail the test if none does."""
        notes = story.report.coverage.notes
        assert any(self.text in note for note in notes), notes


@dataclass(frozen=True)
class Ends:
    """If the job ended here, this would be the exit code."""

    code: ExitCode

    def check(self, story: Story) -> None:
        """Fail the test on another one, or on a verdict that contradicts it."""
        report = story.report
        assert report.exit_code is self.code
        assert report.verdict == ("pass" if self.code is ExitCode.CLEAN else "fail")


class Story:
    """Feeds an engine and checks what comes of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[Event] = []
        self.commands: list[Command] = []

    def sees(self, *scenes: Event | Iterable[Event]) -> Story:
        """Feed events, or groups of them."""
        self.commands = []
        for scene in scenes:
            for event in scene if isinstance(scene, tuple) else (scene,):
                stamped = event if event.ts_ns else replace(event, ts_ns=self._now_ns())
                self.events.append(stamped)
                self.commands += self.engine.feed(stamped)
        return self

    def expects(self, *expectations: Expectation) -> Story:
        """Check what must be true now."""
        for expectation in expectations:
            expectation.check(self)
        return self

    @property
    def report(self) -> Report:
        """The report if the guard were taken down now, in order."""
        return self.engine.report(agent_died=False)

    def _now_ns(self) -> int:
        return self.events[-1].ts_ns + MS if self.events else MS


def story(engine: Engine) -> Story:
    """Begin a story about ``engine``."""
    return Story(engine)


def guarded(
    *rules: Rule,
    mode: Mode = Mode.AUDIT,
    homes: dict[str, Home] | None = None,
    secrets: Iterable[SecretView] = (),
    worker: int = 0,
    **policy: Any,
) -> Story:
    """Begin a story in which a guard is in force."""
    made = Policy(mode=mode, rules=rules, homes=homes or {}, digest=DIGEST, **policy)
    return story(Engine(made, tuple(secrets))).sees(started(mode, worker_pid=worker))


def journaled(events: Iterable[Event]) -> list[Event]:
    """Send events through the journal's text and back."""
    lines = [json.dumps(event_to_json(event)) for event in events]
    return [event_from_json(json.loads(line)) for line in lines]


def _rule(action: Action, place: str, protocol: Protocol, port: int) -> Rule:
    where: Place
    try:
        where = AddressPlace(ip_network(place))
    except ValueError:
        where = NamePlace(place)
    text = place if port in (0, 443) else f"{place}:{port}"
    ports = (PortRange(port, port),) if port else ()
    return Rule(action, where, protocol, ports, RuleRef(text, ".github/leakstop.yml", 5))


def _judged(verdict: Verdict) -> dict[str, Any]:
    carriage = Carriage.KILL if verdict.reason is Reason.LEAK else Carriage.NONE
    return {
        "policy": verdict.policy,
        "applied": verdict.applied,
        "reason": verdict.reason,
        "carriage": carriage,
    }


def _path(exe: str) -> str:
    return exe if exe.startswith("/") else f"/usr/bin/{exe}"


def _fits(value: object, wanted: dict[str, Any]) -> bool:
    return all(getattr(value, name) == item for name, item in wanted.items())


def _lines(values: Iterable[Finding | FlowRecord]) -> str:
    return "\n".join(map(str, values)) or "none"
