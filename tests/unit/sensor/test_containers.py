# SPDX-License-Identifier: MIT
"""What the agent asks engines about containers, and what it makes of the answers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from leakstop.bpf.records import EventEngine, EventHead
from leakstop.bpf.values import Claim, Door
from leakstop.model.container import ContainerAsked, ContainerSeen
from leakstop.model.event import Event
from leakstop.model.process import Tag
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.sensor import containers, engines
from leakstop.sensor.containers import Containers, fnv1a

STEP, OTHER = 17, 18
ID = "0123456789abcdef" * 4
NUMBER = int(ID[:16], 16)
DB = {"Id": ID, "Names": ["/db"], "Image": "corp.test:5000/postgres:16@sha256:00"}
CALLED = ("db", "corp.test:5000/postgres:16@sha256:00", "corp.test:5000/postgres")
SEEN = ContainerSeen(5, 40, ID[:16], asker=30)


class Table(dict[bytes, bytes]):
    """A map of the kernel's."""

    def create(self, key: bytes, value: bytes) -> bool:
        """Set what is not there."""
        return self.setdefault(key, value) is value

    def lookup(self, key: bytes, _size: int) -> bytes | None:
        """Read an entry."""
        return self.get(key)

    def update(self, key: bytes, value: bytes) -> None:  # type: ignore[override]
        """Set an entry."""
        self[key] = value


class Kernel(dict[str, Table]):
    """The maps, by name."""

    def map(self, name: str) -> Table:
        """One of them."""
        return self.setdefault(name, Table())


class Engine:
    """What an engine says, and what it was asked."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {"/containers/json?all=1": []}
        self.asked: list[str] = []
        self.silent = False

    def question(self, _where: str, path: str) -> Engine:
        """Ask."""
        self.asked.append(path)
        return _Asked(self, path)  # type: ignore[return-value]


class _Asked:
    def __init__(self, engine: Engine, path: str) -> None:
        self._engine, self._path = engine, path

    def answer(self) -> tuple[bool, Any]:
        return not self._engine.silent, self._engine.says.get(self._path)

    def wake(self, epoll: int) -> None:
        """Nothing wakes here."""

    def close(self) -> None:
        """It is over."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that can be asked."""
    made = Engine()
    monkeypatch.setattr(engines, "sockets", lambda: ["/run/docker.sock"])
    monkeypatch.setattr(engines, "Question", made.question)
    monkeypatch.setattr(containers.proc, "pids", list)
    yield made


class Agent:
    """The follower, with maps and names in hand."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.named: list[tuple[int, Sequence[str]]] = []
        masker = Masker([])
        self.follower = Containers(
            self.kernel,  # type: ignore[arg-type]
            lambda container, names: self.named.append((container, names)),
            masker,
        )

    def sees(self, *events: Event) -> list[Event]:
        """Show it events; return what it says then."""
        for event in events:
            assert not list(self.follower.see(event))
        return list(self.follower.follow())

    def hears(self, path: str, tag: int = STEP, *, enters: bool = False) -> None:
        """Let a process ask for a container by name."""
        text = path.encode()
        record = EventEngine(head=EventHead(pid=30), tag=tag, len=len(text), enters=enters)
        record.path = text
        self.follower.hear(record)
        assert not list(self.follower.follow())

    def claim(self) -> Claim | None:
        """Whose the container is."""
        raw = self.kernel.map("claims").get(NUMBER.to_bytes(8, "little"))
        return None if raw is None else Claim.from_buffer_copy(raw)

    def claims(self, tag: int) -> None:
        """Say whose it is."""
        self.kernel.map("claims")[NUMBER.to_bytes(8, "little")] = bytes(Claim(tag=tag))

    def door(self) -> Door | None:
        """Who may be let in."""
        raw = self.kernel.map("doors").get(NUMBER.to_bytes(8, "little"))
        return None if raw is None else Door.from_buffer_copy(raw)


def test_a_new_container_gets_its_names(engine: Engine) -> None:
    agent = Agent()
    engine.says["/containers/json?all=1"] = [DB]
    (event,) = agent.sees(SEEN)
    assert isinstance(event, ContainerSeen)
    assert (event.name, event.image, event.names) == ("db", DB["Image"], CALLED)
    assert (event.pid, event.asker, event.ts_ns) == (SEEN.pid, SEEN.asker, SEEN.ts_ns)
    assert agent.named == [(NUMBER, CALLED)]
    names = agent.kernel.map("container_names")
    for name in ("db", ID[:12]):
        assert names[fnv1a(name).to_bytes(8, "little")] == NUMBER.to_bytes(8, "little")


def test_a_container_that_no_engine_knows_has_no_name_and_waits_no_longer(engine: Engine) -> None:
    agent = Agent()
    assert agent.sees(SEEN) == []
    assert agent.named == [(NUMBER, ())]


@pytest.mark.parametrize("lists", [([DB], []), ([], [DB])])
def test_one_engine_of_two_knows_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, lists: tuple[list[Any], list[Any]]
) -> None:
    said = iter(lists)
    monkeypatch.setattr(engines, "sockets", lambda: ["/run/docker.sock", "/run/other.sock"])
    monkeypatch.setattr(_Asked, "answer", lambda _: (True, next(said, None)))
    agent = Agent()
    (event,) = agent.sees(SEEN)
    assert isinstance(event, ContainerSeen) and event.names == CALLED
    assert agent.named == [(NUMBER, CALLED)]


def test_without_an_engine_nobody_waits(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "sockets", list)
    agent = Agent()
    assert agent.sees(SEEN) == []
    assert agent.named == [(NUMBER, ())]


def test_who_is_let_in_later_is_not_asked_about(engine: Engine) -> None:
    agent = Agent()
    assert agent.sees(ContainerSeen(5, 41, ID[:16], first=False)) == []
    assert engine.asked == []


def test_powers_are_told_with_who_asked(engine: Engine) -> None:
    agent = Agent()
    described = {"Config": {"Image": "alpine:3"}, "HostConfig": {"Privileged": True}}
    engine.says[f"/containers/{ID[:16]}/json"] = described
    assert agent.sees(SEEN) == [ContainerAsked(5, 30, "alpine:3", ("privileged",))]


def test_a_secret_in_a_name_is_masked(engine: Engine) -> None:
    agent = Agent()
    agent.follower._masker = Masker([Secret("TOKEN", b"hidden-value-1")])
    engine.says["/containers/json?all=1"] = [{**DB, "Names": ["/x-hidden-value-1"]}]
    (event,) = agent.sees(SEEN)
    assert isinstance(event, ContainerSeen)
    assert "hidden" not in str(event)


@pytest.mark.parametrize(
    "said",
    [None, {}, [None], [{}], [{"Id": "no digits", "Names": [], "Image": ""}], [{**DB, "Id": 7}]],
)
def test_what_an_engine_says_is_not_believed_to_make_sense(engine: Engine, said: Any) -> None:
    agent = Agent()
    engine.says["/containers/json?all=1"] = said
    engine.says[f"/containers/{ID[:16]}/json"] = said
    assert agent.sees(SEEN) == []


# -- asked for by name ------------------------------------------------------------------------


def test_who_starts_a_container_by_name_has_it(engine: Engine) -> None:
    agent = Agent()
    engine.says["/containers/json?all=1"] = [DB]
    agent.hears("/v1.41/containers/db/start")
    claim = agent.claim()
    assert claim is not None
    assert (claim.tag, claim.asker, claim.members) == (STEP, 30, 0)


def test_a_second_one_takes_it_from_the_first(engine: Engine) -> None:
    agent = Agent()
    engine.says["/containers/json?all=1"] = [DB]
    agent.hears("/containers/db/start")
    agent.hears("/containers/0123456789/start", OTHER)
    claim = agent.claim()
    assert claim is not None and claim.tag == Tag.UNKNOWN
    assert agent.door() is None


def test_who_has_it_may_let_one_more_in(engine: Engine) -> None:
    agent = Agent()
    engine.says["/containers/json?all=1"] = [DB]
    agent.claims(STEP)
    agent.hears("/containers/db/exec", enters=True)
    door = agent.door()
    assert door is not None
    assert (door.tag, door.left) == (STEP, 1)


def test_what_nobody_has_opens_to_nobody(engine: Engine) -> None:
    agent = Agent()
    engine.says["/containers/json?all=1"] = [DB]
    agent.hears("/containers/db/exec", enters=True)
    claim = agent.claim()
    assert claim is not None and claim.tag == Tag.UNKNOWN
    assert agent.door() is None


def test_a_name_of_nothing_claims_nothing(engine: Engine) -> None:
    agent = Agent()
    engine.says["/containers/json?all=1"] = [DB]
    agent.hears("/containers/other/start")
    assert agent.claim() is None


def test_a_flood_of_names_is_a_few_questions(engine: Engine) -> None:
    """One list at a time, whoever wants something of it meanwhile waits for the next."""
    agent = Agent()
    engine.silent = True
    for _ in range(2000):
        agent.hears("/containers/db/start")
    assert len(engine.asked) == 1
    engine.silent = False
    engine.says["/containers/json?all=1"] = [DB]
    list(agent.follower.follow())
    list(agent.follower.follow())
    assert len(engine.asked) == 2
    assert agent.claim() is not None


def test_sizes_are_the_kernels() -> None:
    assert (ctypes.sizeof(Claim), ctypes.sizeof(Door)) == (16, 16)


def test_where_there_is_no_engine_not_every_request_is_a_search(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[int] = []
    now = 10**12
    monkeypatch.setattr(containers, "now_ns", lambda: now)
    monkeypatch.setattr(engines, "sockets", lambda: searches.append(now) or [])
    agent = Agent()
    for _ in range(1000):
        agent.hears("/containers/db/start")
    assert len(searches) == 20
    now += 2 * 10**9
    agent.hears("/containers/db/start")
    assert len(searches) == 21, "one may have been started meanwhile"


def test_one_that_cannot_be_asked_keeps_nobody_from_asking_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def question(where: str, path: str) -> Engine:
        if where == "/run/made-up.sock":
            raise PermissionError
        return engine.question(where, path)

    monkeypatch.setattr(engines, "sockets", lambda: ["/run/made-up.sock", "/run/docker.sock"])
    monkeypatch.setattr(engines, "Question", question)
    engine.says["/containers/json?all=1"] = [DB]
    agent = Agent()
    for _ in range(2):
        agent.hears("/containers/db/start")
    assert len(engine.asked) == 2
    assert agent.claim() is not None
