# SPDX-License-Identifier: MIT
"""What sees hands laid on the guard and on the runner, and denies it where the kernel can."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from leakstop.bpf.ids import object_id
from leakstop.bpf.libbpf import Link, Object
from leakstop.bpf.tracepoint import event_numbers, open_event

TRIPWIRE_NOTE = (
    "Nobody watched whether the guard or the memory of the runner's worker was touched by system "
    "calls: this machine does not show its tracepoints."
)
DENIAL_NOTE = (
    "What root does to the guard is seen and fails the job, but it is not denied: this kernel has "
    "no fentry."
)

_TRACING = ("on_signal", "on_move", "on_birth")
_MEMORY = {
    "on_open": ("syscalls/sys_exit_openat", "syscalls/sys_exit_openat2"),
    "on_ptrace": ("syscalls/sys_enter_ptrace",),
    "on_vm_read": ("syscalls/sys_enter_process_vm_readv",),
    "on_vm_write": ("syscalls/sys_enter_process_vm_writev",),
    "on_getfd": ("syscalls/sys_enter_pidfd_getfd",),
}
"""By program, the tracepoints of system calls that lead to the memory of others."""
_OLD_OPENS = ("syscalls/sys_exit_open", "syscalls/sys_exit_creat")
_HAVE_OLD_OPENS = ("x86_64",)
_OTHERS = {
    "on_bpf": ("syscalls/sys_enter_bpf",),
    "on_limit": ("syscalls/sys_enter_prlimit64",),
    "on_settime": ("syscalls/sys_exit_clock_settime",),
    "on_settimeofday": ("syscalls/sys_exit_settimeofday",),
    "on_adjtimex": ("syscalls/sys_exit_adjtimex",),
    "on_clock_adjtime": ("syscalls/sys_exit_clock_adjtime",),
}
_ON_RETURN = "on_return"

# enum our_kind
_PROGRAM, _MAP, _MOUNT = range(3)
_NAME_BYTES = 16
_MINOR_BITS = 20
"""Of a device's number within the kernel (<linux/kdev_t.h>)."""


class Wire(NamedTuple):
    """A program that is to be attached."""

    name: str
    """Its own, and where it has several places a dash and the place."""
    opened: Object
    """The object that it is of."""
    attach: Callable[[], Link]


def wires(opened: Object, denials: Object | None, scratch: Path) -> Iterator[Wire]:
    """What is to be attached, tracepoints of system calls last.

    Where something is denied it need not be watched, too. ``scratch``: see ``event_numbers``.

    Raises:
        BpfError: this machine does not show its tracepoints.
    """
    if denials is not None:
        for program in denials.programs():
            yield Wire(program, denials, partial(denials.attach, program))
    for program in _TRACING:
        yield Wire(program, opened, partial(opened.attach, program))
    calls = _OTHERS if denials else {**_OTHERS, **_memory_calls()}
    entered = [event for events in calls.values() for event in events if "sys_enter" in event]
    calls = {_ON_RETURN: tuple(each.replace("enter", "exit") for each in entered), **calls}
    numbers = event_numbers((event for events in calls.values() for event in events), scratch)
    for program, events in calls.items():
        for event in events:
            name = f"{program}-{event.rpartition('/')[2]}"
            yield Wire(name, opened, partial(_attach, opened, program, numbers[event]))


def name_ours(opened: Object, denials: Object | None, directory: Path) -> None:
    """Tell the programs which objects are the guard's, and where their pins are mounted."""
    ours = opened.map("ours")
    for loaded in (opened, *([denials] if denials else ())):
        for program in loaded.programs():
            ours.update(*_entry(_PROGRAM, object_id(loaded.program_fd(program)), program))
    for table in opened.maps():
        if "." in table.name:  # a section is frozen, and whoever lists programs looks into it
            continue
        ours.update(*_entry(_MAP, object_id(table.fd), table.name))
    device = directory.stat().st_dev
    number = os.major(device) << _MINOR_BITS | os.minor(device)
    ours.update(*_entry(_MOUNT, number, "pins"))


def _entry(kind: int, number: int, name: str) -> tuple[bytes, bytes]:
    text = name.encode()[: _NAME_BYTES - 1].ljust(_NAME_BYTES, b"\0")
    return (kind << 32 | number).to_bytes(8, "little"), text


def _memory_calls() -> dict[str, tuple[str, ...]]:
    """Newer architectures never had open(2)."""
    older = _OLD_OPENS if os.uname().machine in _HAVE_OLD_OPENS else ()
    return {**_MEMORY, "on_open": (*_MEMORY["on_open"], *older)}


def _attach(opened: Object, program: str, number: int) -> Link:
    return opened.attach_event(program, open_event(number))


__all__ = ["DENIAL_NOTE", "TRIPWIRE_NOTE", "Wire", "name_ours", "wires"]
