# SPDX-License-Identifier: MIT
"""Follows the runner's diagnostic log, and names the steps whose processes the worker starts.

What a step may do hangs on two things that no step can change: the job's message, which the
worker logged before it ran anything, and ``GITHUB_ACTION`` as the worker gave it to its direct
child. The rest of the log is read for people only, and whoever writes to it besides the worker
is a finding: the file belongs to the user that the steps run as.
"""

from __future__ import annotations

import errno
import os
import re
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from leakstop.model.event import Event, Exec, StepSeen
from leakstop.model.process import Tag
from leakstop.model.report import UNSURE
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor import fanotify, proc, steps
from leakstop.sensor.diagnostic_log import DiagnosticLog, PlannedStep
from leakstop.sensor.timer import now_ns
from leakstop.sensor.waking import join

SOURCE = "runner log"
"""``StepSeen.source`` of what the job's message names."""

NO_LOG = (
    "Steps are named by what the runner gave their processes (`GITHUB_ACTION`), not by its log: "
    "it keeps none here, or one of a form that is not known."
)
NO_WATCH = "Whoever writes to the runner's log is not seen: this kernel does not tell."

_LOG = re.compile(r"/_diag/Worker_[^/]+\.log( \(deleted\))?$")
_PIECE = 1 << 18
_PIECES = 256
"""Read at a time: whoever writes without end must not keep the agent from all else."""
_MOST_WRITERS = 64
_BELATED_MS = 50
_MOST_NAME = 1000
_MOST_NAMELESS = 256


class RunnerLog:
    """A follower: names the step of each direct child of the worker at its first exec."""

    def __init__(
        self,
        worker_pid: int,
        mask: Callable[[str], str],
        *,
        name_step: Callable[[int, Sequence[str]], None] = lambda _tag, _names: None,
        holds: bool = False,
    ) -> None:
        """``name_step`` tells the kernel; ``holds``: it stops a step until then."""
        self._worker, self._mask = worker_pid, mask
        self._name_step, self._holds = name_step, holds
        self._told = DiagnosticLog()
        self._nameless: dict[int, Exec] = {}
        self._began_ns = 0
        self._named: set[int | tuple[int, int]] = set()
        self._file = -1
        self._number, self._inode, self._at = "", (0, 0), 0
        self._path, self._cut = "", False
        self._writes: fanotify.Files | None = None
        self._writers: set[int] = set()
        self._touched: list[Tamper] = []

    def start(self) -> tuple[str, ...]:
        """Read what the log has already."""
        if not self._worker:
            return ()
        self._began_ns = now_ns()
        try:
            self._writes = fanotify.Files()
        except OSError:
            self._writes = None
        self._read()
        if not self._told.plan:
            return (NO_LOG,)
        return () if self._writes else (NO_WATCH,)

    def wake(self, epoll: int) -> None:
        """Be woken by what is written."""
        if self._writes is not None:
            join(epoll, self._writes)

    def see(self, event: Event) -> Iterable[Event]:
        """Name the step that a direct child of the worker begins."""
        if not isinstance(event, Exec) or event.ppid != self._worker or not self._worker:
            return
        # With CLONE_PARENT a step's process can make the worker a parent, but no new tag; and what
        # a process becomes later has the environment that it gave itself. That is asked of those
        # who were there before us, too: an agent that is started again finds steps at work.
        known = event.tag >= Tag.STEPS
        key = event.tag if known else (event.pid, event.start_ns)
        if key not in self._named and (event.held or event.start_ns >= self._began_ns):
            self._named.add(key)
            yield from self._name(event)

    def follow(self) -> Iterable[Event]:
        """Read on, and tell who else wrote."""
        if self._worker:
            self._read()
        told, self._touched = self._touched, []
        return [*self._belated(), *told]

    def close(self) -> None:
        """Let go of the log."""
        self._shut()
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    # -- names --------------------------------------------------------------------------

    def _name(self, event: Exec) -> Iterator[Event]:
        environ = proc.environ(event.pid)  # first of all: it may soon be another's
        self._read()
        action = steps.action_of(environ)
        planned = self._told.plan.get(action)
        sure = event.held or not self._holds
        if planned is not None:
            sure = not self._denies(action, planned) if sure else self._agrees(action, planned)
            seen = self._seen(event, self._shown(action, planned), planned.names, sure=sure)
            seen = replace(seen, place=planned.place)
        elif action and self._told.plan:  # not of this job: whoever it is has no rights
            seen = self._seen(event, self._going, (), sure=False)
        elif action or self._file < 0:
            label = steps.step_label(environ, [os.fsencode(a) for a in event.argv])
            seen = self._seen(event, label, steps.step_names(environ), sure=sure)
            seen = replace(seen, source=steps.ENVIRONMENT)
        else:  # it is gone by now, or was never given a name: the log has its pid, or will have
            seen = self._seen(event, "", ())
            self._nameless[event.pid] = event
        self._name_step(event.tag, seen.names)
        if seen.step:
            yield seen
        yield from self._belated()

    def _seen(
        self, event: Exec, shown: str, names: Sequence[str], *, sure: bool = True
    ) -> StepSeen:
        shown = self._mask(steps.printable(shown)) + ("" if sure or not shown else UNSURE)
        kept = tuple(self._mask(name[:_MOST_NAME]) for name in names) if sure else ()
        return StepSeen(event.ts_ns, event.pid, shown, kept, SOURCE)

    def _belated(self) -> Iterator[Event]:
        """Name those that only the log can name, as far as it does by now."""
        for pid, event in list(self._nameless.items()):
            if shown := self._told.started(pid):
                del self._nameless[pid]
                yield self._seen(event, shown, (), sure=not self._writers)
        while len(self._nameless) > _MOST_NAMELESS:
            del self._nameless[next(iter(self._nameless))]

    def _shown(self, action: str, planned: PlannedStep) -> str:
        """What people see of it: in its ``pre`` and ``post`` another name than the plan's."""
        going = self._told.background(action) or self._going
        if planned.name and not _is_phase_of(going, planned.name):
            return planned.name
        return going or planned.identity or planned.uses or action.strip("_")

    @property
    def _going(self) -> str:
        return "" if self._writers else self._told.going

    def _agrees(self, action: str, planned: PlannedStep) -> bool:
        """Whether the log, too, says that this step runs.

        Asked where a child was not stopped at its first exec (the agent was too busy): it may
        have become another since, with an environment of its own making.
        """
        going = "" if self._writers else self._told.background(action) or self._told.going
        return bool(planned.name) and _is_phase_of(going, planned.name)

    def _denies(self, action: str, planned: PlannedStep) -> bool:
        """Whether the log says that another step runs.

        Asked where a child was stopped: its neighbours can send it SIGCONT.
        """
        going = "" if self._told.background(action) else self._going
        others = [each.name for each in self._told.plan.values() if each.name != planned.name]
        return any(_is_phase_of(going, name) for name in others if name)

    # -- the file -----------------------------------------------------------------------

    def _read(self) -> None:
        """Take in what the worker wrote since, also into the next file, and who else wrote."""
        try:
            self._take()
            if self._file < 0 or self._moved():
                self._take()
                self._shut()
                self._open()
                self._take()
            self._judge()
        except OSError:  # nothing to read, or no descriptor left: the next time will tell
            return

    def _judge(self) -> None:
        writers = self._wrote()
        if writers:
            self._take()  # once more: they may just have cut it
        cut, self._cut = self._cut, False
        if cut and not writers | self._writers:
            # Whoever cut it is told of a moment later; truncate(2) by its path is never.
            writers = self._wrote(within_ms=_BELATED_MS) or {0}
        for pid in writers:
            self._accuse(pid, "cut short" if cut else "written to")

    def _wrote(self, within_ms: int = 0) -> set[int]:
        """Who wrote since, besides the worker."""
        if self._writes is None:
            return set()
        if within_ms:
            waiting = select.poll()
            waiting.register(self._writes, select.POLLIN)
            waiting.poll(within_ms)
        return {touch.pid for touch in self._writes.touches()} - {self._worker, os.getpid()}

    def _open(self) -> None:
        """Find the file that the worker itself has open: names in ``_diag`` may be anybody's."""
        held = Path(f"/proc/{self._worker}/fd")
        try:
            links = {entry: str(entry.readlink()) for entry in held.iterdir()}
        except OSError:
            return
        found = sorted((path, entry) for entry, path in links.items() if _LOG.search(path))
        if not found:
            return
        self._path, entry = found[-1]
        try:
            self._file = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
            if self._writes is not None:
                wanted = fanotify.MODIFY | fanotify.CLOSE_WRITE
                self._writes.watch(f"/proc/self/fd/{self._file}", wanted)
        except OSError:
            self._shut()
            raise
        self._number, self._inode, self._at = entry.name, _inode(os.fstat(self._file)), 0

    def _moved(self) -> bool:
        """Whether the worker writes another file by now."""
        try:
            now = Path(f"/proc/{self._worker}/fd/{self._number}").stat()
            return _inode(now) != self._inode
        except OSError as error:
            return error.errno == errno.ENOENT and Path(f"/proc/{self._worker}").exists()

    def _take(self) -> None:
        if self._file >= 0 and self._at and not os.pread(self._file, 1, self._at - 1).strip(b"\0"):
            # Gone, or a hole by now: the worker goes on where it was.
            self._at, self._cut = min(self._at, os.fstat(self._file).st_size), True
        for _ in range(_PIECES if self._file >= 0 else 0):
            piece = os.pread(self._file, _PIECE, self._at)
            if not piece:
                break
            self._at += len(piece)
            self._told.feed(piece.replace(b"\0", b""))  # a hole, where somebody cut it

    def _accuse(self, pid: int, route: str) -> None:
        if pid not in self._writers and len(self._writers) < _MOST_WRITERS:
            self._writers.add(pid)
            what = f"the runner's log {Path(self._path).name}"
            self._touched.append(Tamper(now_ns(), pid, Trick.RUNNER_LOG, what, route=route))

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _is_phase_of(shown: str, name: str) -> bool:
    """Whether ``shown`` is the step called ``name``, or its ``pre`` or ``post``."""
    return shown in (name, f"Pre {name}", f"Post {name}")


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


__all__ = ["NO_LOG", "NO_WATCH", "SOURCE", "RunnerLog"]
