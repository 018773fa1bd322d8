# SPDX-License-Identifier: MIT
"""Records of hands on the guard, in words; observed text is masked as everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from leakstop.bpf.records import EventHead, EventTamper
from leakstop.bpf.values import Protected
from leakstop.model.tamper import KERNEL_TRICKS, Trick
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.sensor.tampering import tamper


def record(trick: Trick, **fields: Any) -> EventTamper:
    number = KERNEL_TRICKS.index(trick)
    return EventTamper(head=EventHead(pid=7, ts=1), trick=number, **fields)


@pytest.mark.parametrize(
    ("made", "what", "route"),
    [
        (
            record(Trick.BPF, argument=34, text=b"on_egress"),
            "the guard's on_egress",
            "BPF_LINK_DETACH",
        ),
        (
            record(Trick.PROGRAMS, argument=5, target=2, text=b"mine"),
            "a BPF program “mine” of type kprobe",
            "BPF_PROG_LOAD",
        ),
        (
            record(Trick.PROGRAMS, argument=5, target=99),
            "a BPF program of type 99",
            "BPF_PROG_LOAD",
        ),
        (record(Trick.PROGRAMS, argument=28), "a BPF program", "BPF_LINK_CREATE"),
        (
            record(Trick.SIGNAL, argument=19, whom=Protected.AGENT),
            "SIGSTOP at Leakstop's own process",
            "",
        ),
        (
            record(Trick.SIGNAL, argument=63, whom=Protected.WORKER),
            "signal 63 at the runner's worker",
            "",
        ),
        (
            record(Trick.LIMIT, argument=0, whom=Protected.WORKER),
            "RLIMIT_CPU of the runner's worker",
            "",
        ),
        (
            record(Trick.LIMIT, argument=99, whom=Protected.AGENT),
            "limit 99 of Leakstop's own process",
            "",
        ),
        (
            record(Trick.READ, argument=2, whom=Protected.WORKER, text=b"procfs"),
            "the environment of the runner's worker",
            "procfs",
        ),
        (
            record(Trick.TRACE, argument=1, whom=Protected.AGENT, text=b"ptrace"),
            "the memory of Leakstop's own process",
            "ptrace",
        ),
        (record(Trick.CGROUP, argument=7, text=b"/beside"), "/beside", ""),
        (record(Trick.CGROUP, argument=1, text=b"/beside"), "/beside, by process 1", ""),
        (record(Trick.CLOCK, text=b"clock_settime"), "the time", "clock_settime"),
        (record(Trick.MOUNT, text=b"umount"), "the pins of the guard's programs", "umount"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_words(made: EventTamper, what: str, route: str) -> None:
    told = tamper(made, Masker(()))
    assert (told.what, told.route, told.pid, told.ts_ns) == (what, route, 7, 1)
    assert told.trick is KERNEL_TRICKS[made.trick]


def test_what_came_of_it() -> None:
    told = tamper(record(Trick.CLOCK, denied=1, killed=1), Masker(()))
    assert (told.denied, told.killed) == (True, True)


def test_a_name_may_hold_a_secret() -> None:
    value = b"s3cr3t-value-0123456789"
    masker = Masker((Secret("TOKEN", value),))
    told = tamper(record(Trick.CGROUP, argument=7, text=b"/" + value), masker)
    assert told.what == "/***TOKEN***"


@pytest.mark.parametrize("made", [record(Trick.READ), record(Trick.SIGNAL, argument=9)])
def test_nobody_is_not_somebody(made: EventTamper) -> None:
    with pytest.raises(ValueError, match="0 is not a valid Protected"):
        tamper(made, Masker(()))
