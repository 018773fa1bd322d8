# SPDX-License-Identifier: MIT
"""What containers are called, and what they reach of the machine: asked of their engines.

Whose a container is the kernel knows by itself, by its id (``container.bpf.h``). Who asks for one
by name is told here, and the claim is made for him: an engine needs longer to make a process than
to say what it calls its containers.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from leakstop.bpf.libbpf import BpfError, Object
from leakstop.bpf.records import EventEngine
from leakstop.bpf.values import Claim, Door
from leakstop.model.container import ContainerAsked, ContainerSeen
from leakstop.model.event import Event
from leakstop.model.process import Tag
from leakstop.secrets.masker import Masker
from leakstop.sensor import engines, proc
from leakstop.sensor.powers import powers_of
from leakstop.sensor.timer import now_ns

_ALL = "/containers/json?all=1"
_SHORT = 12
"""Digits of an id as ``docker ps`` prints it."""
_DIGITS = 16
_TEXT_MAX = 128
_LET_IN_NS = 10_000_000_000
"""``LET_IN_NS`` of engine.bpf.h."""
_QUESTIONS_MAX, _WISHES_MAX = 64, 1024
_SECOND_NS = 1_000_000_000
_SEARCHES = 20
"""For engines, in a second."""

NameContainer = Callable[[int, Sequence[str]], None]
"""Is told what a container is called: names and image, none if nobody knows."""
Take = Callable[[Any], Iterable[Event]]


@dataclass(frozen=True)
class _Entry:
    """A container as its engine lists it."""

    container: int
    digits: str
    names: tuple[str, ...]
    image: str

    @property
    def all_names(self) -> tuple[str, ...]:
        """What rules may call it: its names, and its image with and without tag or digest."""
        bare = self.image.partition("@")[0]
        head, slash, last = bare.rpartition("/")
        images = (self.image, head + slash + last.partition(":")[0])
        return tuple(dict.fromkeys((*self.names, *images)))

    def is_called(self, name: str) -> bool:
        return name in self.names or self.digits.startswith(name)


@dataclass
class _Wishes:
    """What an engine's list of its containers is wanted for."""

    new: list[ContainerSeen] = field(default_factory=list)
    """What they are called."""
    asked: list[tuple[str, EventEngine]] = field(default_factory=list)
    """Which one somebody has asked for by this name."""

    def __bool__(self) -> bool:
        return bool(self.new or self.asked)


class Containers:
    """A follower of the sensor; besides, it hears what is asked of engines by name."""

    def __init__(self, opened: Object, name: NameContainer, masker: Masker) -> None:
        self._claims, self._doors = opened.map("claims"), opened.map("doors")
        self._names = opened.map("container_names")
        self._name, self._masker = name, masker
        self._engines: list[str] = []
        self._searched_ns = self._searches = 0
        self._epoll = -1
        self._asked: list[tuple[engines.Question, Take]] = []
        self._wishes = _Wishes()
        self._lists = 0
        self._older: list[ContainerSeen] = []

    def hear(self, record: EventEngine) -> None:
        """Take in that somebody asks for a container by a name that the kernel does not know."""
        if len(self._wishes.asked) < _WISHES_MAX:
            name = record.path[: record.len].decode("utf-8", "replace").split("/")[-2]
            self._wishes.asked.append((name, record))
        self._list()

    # -- a follower of the sensor -----------------------------------------------------------

    def start(self) -> tuple[str, ...]:
        """Learn what there is. Containers from before the guard are the job's, and no step's."""
        inside = {pid: box for pid in proc.pids() if (box := proc.container(pid))}
        for container, members in Counter(inside.values()).items():
            claim = Claim(tag=Tag.JOB, members=members)
            with contextlib.suppress(BpfError):
                self._claims.create(_key(container), bytes(claim))
        now = now_ns()
        self._older = [
            ContainerSeen(now, pid, f"{box:016x}", first=False) for pid, box in inside.items()
        ]
        self._wishes.new += self._older
        self._list()
        return ()

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up for answers."""
        self._epoll = epoll
        for question, _ in self._asked:
            question.wake(epoll)

    def see(self, event: Event) -> Iterable[Event]:
        """Ask what a new container is called, and what it is."""
        if isinstance(event, ContainerSeen) and event.first and not event.names:
            self._wishes.new.append(event)
            self._list()
            self._ask(f"/containers/{event.container}/json", partial(self._inspected, event))
        return ()

    def follow(self) -> Iterator[Event]:
        """Take in what the engines have answered."""
        yield from self._older
        self._older = []
        for entry in list(self._asked):
            question, take = entry
            over, said = question.answer()
            if over:
                self._asked.remove(entry)
                question.close()
                yield from take(said)

    def close(self) -> None:
        """Ask no more."""
        for question, _ in self._asked:
            question.close()
        self._asked.clear()

    # -- asking -----------------------------------------------------------------------------

    def _list(self) -> None:
        """Ask for lists, unless that was done and is not answered: then again after that."""
        if self._lists or not self._wishes:
            return
        wishes, self._wishes = self._wishes, _Wishes()
        self._lists = self._ask(_ALL, partial(self._listed, wishes))
        if not self._lists:
            self._give_up(wishes)

    def _give_up(self, wishes: _Wishes) -> None:
        """No engine knows these, so they wait no longer."""
        for event in wishes.new:
            self._name(int(event.container, 16), ())

    def _ask(self, path: str, take: Take) -> int:
        """Ask every engine; return how many those are."""
        if not self._engines and self._may_search():
            self._engines = engines.sockets()
        asked = 0
        for engine in self._engines:
            if len(self._asked) >= _QUESTIONS_MAX:
                break
            try:
                question = engines.Question(engine, path)
            except OSError:
                self._engines = []  # looked for again with the next question
                continue
            self._asked.append((question, take))
            if self._epoll >= 0:
                question.wake(self._epoll)
            asked += 1
        return asked

    def _may_search(self) -> bool:
        """Where there is no engine, a job could have all processes looked through without end."""
        now = now_ns()
        if now - self._searched_ns > _SECOND_NS:
            self._searched_ns, self._searches = now, 0
        self._searches += 1
        return self._searches <= _SEARCHES

    # -- answers ----------------------------------------------------------------------------

    def _listed(self, wishes: _Wishes, said: Any) -> Iterator[Event]:
        self._lists -= 1
        listed = {}
        for entry in filter(None, map(_entry, said if isinstance(said, list) else ())):
            listed[entry.container] = entry
            self._call(entry)
            self._name(entry.container, entry.all_names)
            for name, record in wishes.asked:
                if entry.is_called(name):
                    self._claim(entry.container, record)
        found = [event for event in wishes.new if int(event.container, 16) in listed]
        for event in found:
            entry = listed[int(event.container, 16)]
            yield replace(
                event,
                name=self._text(" ".join(entry.names)),
                image=self._text(entry.image),
                names=tuple(map(self._text, entry.all_names)),
            )
        wishes.new = [event for event in wishes.new if event not in found]
        if not self._lists:
            self._give_up(wishes)
        self._list()

    def _inspected(self, event: ContainerSeen, said: Any) -> Iterator[Event]:
        """What the engine made of the request, however that was written."""
        if isinstance(said, dict):
            image, powers = powers_of(said)
            if powers:
                shown = tuple(map(self._text, powers))
                yield ContainerAsked(event.ts_ns, event.asker, self._text(image), shown)

    def _call(self, entry: _Entry) -> None:
        with contextlib.suppress(BpfError):  # then claims by name are made here
            for name in (*entry.names, entry.digits[:_SHORT]):
                self._names.update(_key(fnv1a(name)), _key(entry.container))

    def _claim(self, container: int, record: EventEngine) -> None:
        """``ask_for`` of engine.bpf.h."""
        key, tag = _key(container), record.tag
        fresh = Claim(tag=Tag.UNKNOWN if record.enters else tag, asker=record.head.pid)
        with contextlib.suppress(BpfError):
            if self._claims.create(key, bytes(fresh)) and not record.enters:
                return
            raw = self._claims.lookup(key, ctypes.sizeof(Claim))
            if raw is None:
                return
            claim = Claim.from_buffer_copy(raw)
            if claim.tag != tag:
                claim.tag = Tag.UNKNOWN
                self._claims.update(key, bytes(claim))
            elif record.enters:
                until = now_ns() + _LET_IN_NS
                self._doors.update(key, bytes(Door(until=until, tag=tag, left=1)))

    def _text(self, text: str) -> str:
        return self._masker.mask(text)[:_TEXT_MAX]


def _entry(said: Any) -> _Entry | None:
    """A container of an engine's list."""
    try:
        digits, names, image = said["Id"], said["Names"] or (), said["Image"]
        called = tuple(str(name).removeprefix("/") for name in names)
        return _Entry(int(digits[:_DIGITS], 16), digits, called, str(image))
    except (KeyError, TypeError, ValueError):
        return None


def fnv1a(text: str) -> int:
    """FNV-1a with 64 bits, as ``read_words`` of words.bpf.h has it."""
    value = 0xCBF29CE484222325
    for byte in text.encode("utf-8", "surrogateescape"):
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value


def _key(number: int) -> bytes:
    return number.to_bytes(8, "little")


__all__ = ["Containers", "fnv1a"]
