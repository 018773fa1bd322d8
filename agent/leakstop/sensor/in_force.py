# SPDX-License-Identifier: MIT
"""Looks whether the programs of the guard still are where they were attached, and puts them back.

Root can detach some of them (cgroup, tcx) whoever holds them, exchange what a link runs, take
pins away, and switch off what stands on ftrace: the denials. Asked at each event that tells of such
a thing, four times a second, and when the guard ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from leakstop.bpf.libbpf import BpfError
from leakstop.model.coverage import Gap
from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor.attachment import Attachment
from leakstop.sensor.timer import now_ns

_EVERY_NS = 250_000_000
_TELLING = (Trick.BPF, Trick.MOUNT)
_MAX_NAMED = 3
FTRACE = Path("/proc/sys/kernel/ftrace_enabled")
"""A trampoline that BPF puts there is taken out with all others where this is 0."""


class InForce:
    """A ``Follower`` of the guard itself."""

    def __init__(self, attachment: Attachment, since_ns: int = 0, *, switch: Path = FTRACE) -> None:
        """``since_ns``: when an agent before this one last looked."""
        self._attachment = attachment
        self._switch = switch
        self._looked_ns = since_ns or now_ns()
        self._due = True

    def start(self) -> tuple[str, ...]:
        """Nothing is hidden from it."""
        return ()

    def wake(self, _epoll: int) -> None:
        """Nothing: what tells of it wakes the sensor already."""

    def see(self, event: Event) -> Iterable[Event]:
        """Look when somebody lays hands on it."""
        self._due |= isinstance(event, Tamper) and event.trick in _TELLING
        return ()

    def look(self) -> None:
        """Look the next time that it is asked."""
        self._due = True

    def follow(self) -> Iterable[Event]:
        """Put back what is gone; say so."""
        now = now_ns()
        if not self._due and now - self._looked_ns < _EVERY_NS:
            return ()
        since_ns, self._looked_ns, self._due = self._looked_ns, now, False
        return [*self._switched_on(since_ns), *self._restored(since_ns)]

    def close(self) -> None:
        """Nothing is held."""

    def _switched_on(self, since_ns: int) -> Iterator[Event]:
        """What is denied is seen by nobody else, so meanwhile it passed unseen."""
        if not self._attachment.denies or not _is_off(self._switch):
            return
        try:
            self._switch.write_text("1")
        except OSError:
            self._due = True
        off = _is_off(self._switch)
        what = "the switch of the guard's denials (kernel.ftrace_enabled)"
        yield _found(Trick.BPF, what, "off", mended=not off)
        yield Gap(now_ns(), since_ns, "somebody switched off kernel.ftrace_enabled")

    def _restored(self, since_ns: int) -> Iterator[Event]:
        absent, self._attachment.absent = self._attachment.absent, []
        try:
            off = (*absent, *self._attachment.restore())
        except BpfError as error:
            self._due = True  # for as long as they are off
            yield Gap(now_ns(), since_ns, f"programs were detached ({error.what})", undecided=True)
            return
        if off:
            names = _named(off)
            yield _found(Trick.BPF, f"the guard's {names}", "detached or exchanged")
            yield Gap(now_ns(), since_ns, f"somebody detached {names}", undecided=True)
        try:
            unpinned, mended = self._attachment.restore_pins(), True
        except (BpfError, OSError):
            unpinned, mended = True, False
        if unpinned:
            pins = "the pins of the guard's programs and maps"
            yield _found(Trick.MOUNT, pins, "gone", mended=mended)


def _found(trick: Trick, what: str, how: str, *, mended: bool = True) -> Tamper:
    return Tamper(now_ns(), 0, trick, what, route=how, mended=mended)


def _is_off(switch: Path) -> bool:
    try:
        return switch.read_text().strip() == "0"
    except OSError:  # this kernel has no such switch
        return False


def _named(programs: tuple[str, ...]) -> str:
    names = list(dict.fromkeys(programs))
    rest = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + rest


__all__ = ["InForce"]
