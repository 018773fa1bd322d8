# SPDX-License-Identifier: MIT
"""Who a process was to the kernel when it judged, so that the reference judges the same one.

What ``bpf/owner.bpf.h`` keeps, from the events that tell of it: the tag that each fork passes
on, the program, the container, and what steps and containers are called.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, replace

from leakstop.engine.lineage import Lineage
from leakstop.model.container import ContainerSeen
from leakstop.model.event import Event, Exec, Exit, Fork, ProcessSeen, Started, StepSeen
from leakstop.model.flow import Who
from leakstop.model.process import DELETED, Tag

_LIMIT, _ENDED = 65_536, 4096
"""As many as the kernel knows, and some that have ended: what is on its way still arrives."""
_SETTLING_NS = 1_000_000_000
"""So long after it was told may a name have reached the kernel later than a flow."""
_NOBODY = Who(steps=None, process="", container=None)


@dataclass(frozen=True, slots=True)
class _Owner:
    tag: int
    program: str = ""
    container: str = ""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class _Names:
    since_ns: int
    names: tuple[str, ...]


class Owners:
    """Whose each process is."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._tagged = True
        self._owners: OrderedDict[int, _Owner] = OrderedDict()
        self._ended: deque[int] = deque()
        self._steps: dict[int, _Names] = {}
        self._containers: dict[str, _Names] = {}

    def see(self, event: Event) -> None:
        """Take in what tells of a process."""
        if isinstance(event, Started):
            self._begin(event)
        elif isinstance(event, StepSeen):
            self._steps[self._of(event.pid).tag] = _Names(event.ts_ns, event.names)
        elif isinstance(event, ContainerSeen):
            if event.names:
                self._containers[event.container] = _Names(event.ts_ns, event.names)
            self._put(event.pid, replace(self._of(event.pid), container=event.container))
        elif isinstance(event, Fork):
            self._put(event.pid, replace(self._of(event.ppid), tag=event.tag, ended=False))
        elif isinstance(event, Exec):
            program = "" if event.unlinked else event.program
            self._put(event.pid, replace(self._of(event.pid), tag=event.tag, program=program))
        elif isinstance(event, ProcessSeen):
            program = "" if event.exe.endswith(DELETED) else event.exe
            self._put(event.pid, _Owner(event.tag, program))
        elif isinstance(event, Exit):
            self._end(event.pid)

    def who(self, pid: int) -> Who:
        """Say who ``pid`` is, as scoped rules judge it."""
        if not self._tagged:
            view, step = self._lineage.view(pid), self._lineage.step_of(pid)
            return Who(steps=(step.name,) if step.name else (), process=view.exe)
        owner = self._of(pid)
        unknown = owner.tag == Tag.UNKNOWN
        if unknown and not owner.container:
            return _NOBODY
        step_names = self._steps.get(owner.tag)
        boxed = self._containers.get(owner.container)
        return Who(
            steps=None if unknown else step_names.names if step_names else (),
            process=owner.program,
            container=(boxed.names if boxed else None) if owner.container else (),
            runner=owner.tag in (Tag.RUNNER, Tag.MACHINE),
        )

    def who_before(self, pid: int, ts_ns: int) -> Who:
        """Say who ``pid`` was while a name that it has got around then was not in the kernel."""
        who, owner = self.who(pid), self._of(pid)
        if _is_fresh(self._steps.get(owner.tag), ts_ns):
            who = replace(who, steps=())
        if _is_fresh(self._containers.get(owner.container), ts_ns):
            who = replace(who, container=None)
        return who

    def relays(self, pid: int) -> bool:
        """Whether its questions are others': a resolver's on this machine, Docker's own."""
        return self._of(pid).tag in (Tag.MACHINE, Tag.ENGINE)

    def _begin(self, event: Started) -> None:
        """Begin anew: each guard gives its own tags, and only in the kernel."""
        self._tagged = event.sensor == "kernel"
        for table in (self._owners, self._steps, self._containers, self._ended):
            table.clear()

    def _end(self, pid: int) -> None:
        if pid in self._owners:
            self._owners[pid] = replace(self._owners[pid], ended=True)
            self._ended.append(pid)
        if len(self._ended) > _ENDED:
            oldest = self._ended.popleft()
            if self._of(oldest).ended:
                del self._owners[oldest]

    def _of(self, pid: int) -> _Owner:
        return self._owners.get(pid, _Owner(Tag.UNKNOWN))

    def _put(self, pid: int, owner: _Owner) -> None:
        self._owners[pid] = owner
        self._owners.move_to_end(pid)
        if len(self._owners) > _LIMIT:
            self._owners.popitem(last=False)


def _is_fresh(names: _Names | None, ts_ns: int) -> bool:
    return names is not None and ts_ns - names.since_ns < _SETTLING_NS


__all__ = ["Owners"]
