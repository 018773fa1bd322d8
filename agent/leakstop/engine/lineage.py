# SPDX-License-Identifier: MIT
"""Who started whom: the process table, from fork to report.

A process keeps the parent that forked it, as it was at that moment; that the parent ends,
becomes another program, or gives its pid away changes nothing. Processes outlive their
exit, so that what arrives late is still attributed. The step is a tag that each fork
passes on, and that may get its name later than its processes get to work.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from leakstop.model.container import ContainerSeen
from leakstop.model.event import Exec, Exit, Fork, ProcessSeen, Started, StepSeen
from leakstop.model.process import ProcessView, is_engine
from leakstop.model.report import StepView

_DEPTH = 32
"""Ancestors shown: enough to reach the step from deep inside a build."""
_STEPS = 2000
"""Told in a report: more than a workflow can have, with their posts."""
_LONG_BYTES = 1024
_LONG_BUDGET_BYTES = 8 << 20
"""All argument lists above ``_LONG_BYTES`` together; the oldest are cut beyond it."""
_CONTAINERS = 4096
_SHORT = 12
"""Digits of an id as engines show it."""
_TICK_NS = 10_000_000
"""Start times read from /proc are in ticks of 1/100 s, those of the kernel in nanoseconds."""


Identity = tuple[int, int]
"""A pid and when its process began: numbers are given again."""


@dataclass(eq=False, slots=True)
class Step:
    """One step's tag, shared by all of its processes."""

    name: str = ""
    names: tuple[str, ...] = ()
    """All that a policy may call it (``StepSeen.names``)."""


@dataclass(eq=False, slots=True)
class _Image:
    """What a process runs; forks share it until they become another program."""

    exe: str = ""
    argv: tuple[str, ...] = ()
    truncated: bool = False

    @property
    def size(self) -> int:
        return sum(map(len, self.argv))


@dataclass(eq=False, slots=True)
class _Process:
    pid: int
    start_ns: int
    image: _Image
    step: Step
    parent: _Process | None = None
    maker: _Image | None = None
    """What the parent ran when it forked this one."""
    before: bool = False
    """It was there before the guard."""
    container: _Container | None = None
    above: tuple[str, ...] = ()
    """The ancestry, once the parent is let go of."""
    job: bool = False
    """The runner's worker made it, or something that the worker made."""
    first: tuple[str, ...] = ()
    """Of a child of the worker: the arguments of the first program that it became."""


@dataclass(eq=False, slots=True)
class _Container:
    """A container, shared by all processes in it; its name may come later than they do."""

    name: str
    asker: _Process | None = None
    """Who asked for it."""


class Lineage:
    """The processes of a job: at most ``limit``, of which at most ``ended`` have ended.

    What is still on its way when a process ends arrives within milliseconds, so those that
    ended need not be as many: else a long job would fill the table with them.
    """

    def __init__(self, limit: int = 32_768, ended: int = 4096) -> None:
        self._limit = limit
        self._ended = ended
        self._worker = 0
        self._cut = False
        self._alive: OrderedDict[int, _Process] = OrderedDict()
        self._exited: OrderedDict[int, _Process] = OrderedDict()
        self._long: deque[tuple[_Image, int]] = deque()
        self._long_bytes = 0
        self._no_step = Step()
        self._steps: dict[str, StepView] = {}
        self._containers: OrderedDict[str, _Container] = OrderedDict()

    def begin(self, event: Started) -> None:
        """Learn what is guarded.

        Each child of the runner's worker begins a step, and no ancestry goes above it. That of
        a guarded command ends with who started it: the rest of the machine is not guarded.
        """
        self._worker = event.worker_pid
        self._cut = event.scope == "command"

    def seen(self, event: ProcessSeen) -> None:
        """Take in a process that was there before the guard."""
        process = self._same(event.pid, event.start_ns)
        if process is None:
            process = self._born(event.pid, event.ppid, event.start_ns)
            process.before = True
        placeholder = self._attach(process, event.ppid, event.start_ns)
        process.before |= placeholder
        if placeholder:  # in place: its children were seen before it and share the image
            process.image.exe, process.image.argv = event.exe, event.argv
        elif process.image is process.maker:  # else an exec has told more
            process.image = _Image(event.exe, event.argv)
        self._weigh(process.image)

    def forked(self, event: Fork) -> None:
        """Take in a new process."""
        self._born(event.pid, event.ppid, event.start_ns)

    def became(self, event: Exec) -> None:
        """Take in that a process became another program."""
        process = self._same(event.pid, event.start_ns)
        if process is None:  # the fork was lost
            process = self._born(event.pid, event.ppid, event.start_ns)
        self._attach(process, event.ppid, event.start_ns)
        process.image = _Image(event.exe, event.argv, event.truncated)
        if process.parent is not None and process.parent.pid == self._worker:
            process.first = process.first or event.argv
        self._weigh(process.image)

    def ended(self, event: Exit) -> None:
        """Take in that a process ended."""
        process = self._alive.pop(event.pid, None)
        if process is not None:
            self._exited[event.pid] = process
        if len(self._exited) > self._ended:
            self._let_go(self._exited.popitem(last=False)[1])

    def step_began(self, event: StepSeen) -> None:
        """Name the step of a process and of what it starts, or already has started."""
        process = self._find(event.pid) or self._unknown(event.pid)
        if process.parent is not None and process.parent.step is process.step:
            process.step = Step()  # no child of the worker: the step begins here
        process.step.name, process.step.names = event.step, event.names
        if len(self._steps) < _STEPS:
            view = StepView(event.step, event.place, event.source, event.names)
            self._steps.setdefault(event.step, view)

    @property
    def steps(self) -> tuple[StepView, ...]:
        """The job's steps in the order in which they began."""
        return tuple(self._steps.values())

    def is_of_job(self, pid: int) -> bool:
        """Whether the runner's worker made ``pid``, or something that the worker made."""
        process = self._find(pid)
        return process is not None and process.job

    def first_of(self, pid: int) -> tuple[str, ...]:
        """What ``pid``, a child of the worker, ran first; empty if that was not seen."""
        process = self._find(pid)
        return () if process is None else process.first

    def contained(self, event: ContainerSeen) -> None:
        """Take in that a process is in a container: it is as if who asked for that had made it.

        Asked for by nobody who was seen, it is of a step of its own, which has no name. One that
        no engine has put there is whose it was.
        """
        container = self._container(event)
        process = self._find(event.pid) or self._unknown(event.pid)
        if process.container is not None:
            return
        process.container = container
        if event.stays:
            return
        asker = container.asker if event.asker else None
        process.job = asker is None or asker.job
        process.step = Step() if asker is None else asker.step
        if asker is not None:
            process.parent, process.maker = asker, asker.image

    def _container(self, event: ContainerSeen) -> _Container:
        digits = event.container
        container = self._containers.get(digits)
        if container is None:
            container = _Container(digits[:_SHORT])
            self._containers[digits] = container
            if len(self._containers) > _CONTAINERS:
                self._containers.popitem(last=False)
        if container.asker is None and event.asker:
            container.asker = self._find(event.asker)
        if event.name:
            container.name = f"{event.name} ({event.image})"
        return container

    def step_of(self, pid: int) -> Step:
        """Return the step that ``pid`` belongs to; its name may still change."""
        process = self._find(pid)
        return self._no_step if process is None else process.step

    def identity(self, pid: int) -> Identity:
        """Return what tells ``pid`` from others that have its number at another time."""
        return pid, self.start_of(pid)

    def line(self, pid: int) -> Iterator[Identity]:
        """Return ``pid`` and its ancestors of the same job, from itself upwards."""
        process = self._find(pid)
        for _ in range(_DEPTH):
            if process is None or process.pid in (1, self._worker):
                return
            yield process.pid, process.start_ns
            process = process.parent

    def start_of(self, pid: int) -> int:
        """Return when ``pid`` started, 0 if unknown."""
        process = self._find(pid)
        return 0 if process is None else process.start_ns

    def knows(self, pid: int) -> bool:
        """Whether a process with this number was seen."""
        return self._find(pid) is not None

    def is_service(self, pid: int) -> bool:
        """Whether ``pid`` belongs to the machine and not to the job.

        It is one of those that ran before the guard, or a descendant of one, with neither the
        runner's worker nor a container engine on the way: what those start may be the job's.
        A process of unknown descent is the job's.
        """
        process = self._find(pid) if self._worker else None
        while process is not None:
            if process.pid == self._worker or is_engine(process.image.exe):
                return False
            if process.parent is None or process.parent.pid <= 1:
                return process.before
            process = process.parent
        return False

    def view(self, pid: int) -> ProcessView:
        """Show ``pid`` as it is now, its ancestors as they were."""
        process = self._find(pid)
        if process is None:
            return ProcessView(pid=pid, exe="")
        image = process.image
        return ProcessView(
            pid=pid,
            exe=image.exe,
            argv=image.argv,
            truncated=image.truncated,
            ancestry=self._ancestry(process),
            container="" if process.container is None else process.container.name,
        )

    def __len__(self) -> int:
        return len(self._alive) + len(self._exited)

    def _find(self, pid: int) -> _Process | None:
        return self._alive.get(pid) or self._exited.get(pid)

    def _same(self, pid: int, start_ns: int) -> _Process | None:
        """The living process ``pid``, unless it began at another time."""
        process = self._alive.get(pid)
        if process is None or not start_ns or not process.start_ns:
            return process
        return process if abs(process.start_ns - start_ns) < _TICK_NS else None

    def _born(self, pid: int, ppid: int, start_ns: int) -> _Process:
        parent = self._find(ppid) or self._unknown(ppid)
        step = Step() if ppid == self._worker else parent.step
        process = _Process(pid, start_ns, parent.image, step, parent, parent.image)
        process.job = parent.job or ppid == self._worker != 0
        process.container = parent.container
        self._put(process)
        return process

    def _attach(self, process: _Process, ppid: int, start_ns: int) -> bool:
        """Complete a process that was only known as somebody's parent; else do nothing."""
        if process.parent is not None:
            return False
        process.parent = self._find(ppid) or self._unknown(ppid)
        process.maker = process.parent.image
        process.start_ns = start_ns
        return True

    def _unknown(self, pid: int) -> _Process:
        process = _Process(pid, 0, _Image(), Step())
        self._put(process)
        return process

    def _put(self, process: _Process) -> None:
        for table in (self._alive, self._exited):
            self._let_go(table.pop(process.pid, None))
        self._alive[process.pid] = process
        while len(self) > self._limit:
            self._let_go((self._exited or self._alive).popitem(last=False)[1])

    def _let_go(self, process: _Process | None) -> None:
        """Cut a process that leaves the table off its parent, which frees long chains."""
        if process is not None:
            process.above = self._ancestry(process)
            process.parent = None

    def _ancestry(self, process: _Process) -> tuple[str, ...]:
        """The executables above ``process``, as far up as the guard reaches."""
        names: list[str] = []
        while process.parent is not None and process.parent.pid != self._worker:
            if process.maker is None or not process.maker.exe or len(names) == _DEPTH:
                return tuple(names)
            names.append(process.maker.exe)
            process = process.parent
            if self._cut and process.before:
                return tuple(names)
        return (*names, *process.above)[:_DEPTH]

    def _weigh(self, image: _Image) -> None:
        """Keep long argument lists within the budget."""
        size = image.size
        if size <= _LONG_BYTES:
            return
        self._long.append((image, size))
        self._long_bytes += size
        while self._long_bytes > _LONG_BUDGET_BYTES and len(self._long) > 1:
            oldest, size = self._long.popleft()
            oldest.argv, oldest.truncated = shorten(oldest.argv), True
            self._long_bytes -= size


def shorten(argv: tuple[str, ...], limit: int = _LONG_BYTES) -> tuple[str, ...]:
    """Return the beginning of ``argv``, at most ``limit`` characters."""
    kept: list[str] = []
    for argument in argv:
        if limit <= 0:
            break
        kept.append(argument[:limit])
        limit -= len(argument)
    return tuple(kept)


def brief(view: ProcessView) -> ProcessView:
    """Return ``view`` with a short argument list, for records of which there are many."""
    if sum(map(len, view.argv)) <= _LONG_BYTES:
        return view
    return replace(view, argv=shorten(view.argv), truncated=True)


__all__ = ["Identity", "Lineage", "Step", "brief", "shorten"]
