# SPDX-License-Identifier: MIT
"""What the kernel side says of hands laid on the guard or the runner, in words for people."""

from __future__ import annotations

import signal
from contextlib import suppress

from leakstop.bpf.records import EventTamper
from leakstop.bpf.values import Protected
from leakstop.model.tamper import KERNEL_TRICKS, Tamper, Trick
from leakstop.secrets.masker import Masker
from leakstop.sensor import proc

_WHOM = {
    Protected.AGENT: "Leakstop's own process",
    Protected.WORKER: "the runner's worker",
    Protected.RUNNER: "the runner",
}
# enum bpf_cmd of <linux/bpf.h>: those that are told.
_COMMANDS = {
    1: "BPF_MAP_LOOKUP_ELEM", 2: "BPF_MAP_UPDATE_ELEM", 3: "BPF_MAP_DELETE_ELEM",
    4: "BPF_MAP_GET_NEXT_KEY", 5: "BPF_PROG_LOAD", 8: "BPF_PROG_ATTACH", 9: "BPF_PROG_DETACH",
    21: "BPF_MAP_LOOKUP_AND_DELETE_ELEM", 22: "BPF_MAP_FREEZE", 24: "BPF_MAP_LOOKUP_BATCH",
    25: "BPF_MAP_LOOKUP_AND_DELETE_BATCH", 26: "BPF_MAP_UPDATE_BATCH", 27: "BPF_MAP_DELETE_BATCH",
    28: "BPF_LINK_CREATE", 29: "BPF_LINK_UPDATE", 34: "BPF_LINK_DETACH",
}  # fmt: skip
_PROG_LOAD = 5
# enum bpf_prog_type of <linux/bpf.h>
_PROGRAM_TYPES = (
    "unspec", "socket_filter", "kprobe", "sched_cls", "sched_act", "tracepoint", "xdp",
    "perf_event", "cgroup_skb", "cgroup_sock", "lwt_in", "lwt_out", "lwt_xmit", "sock_ops",
    "sk_skb", "cgroup_device", "sk_msg", "raw_tracepoint", "cgroup_sock_addr", "lwt_seg6local",
    "lirc_mode2", "sk_reuseport", "flow_dissector", "cgroup_sysctl", "raw_tracepoint_writable",
    "cgroup_sockopt", "tracing", "struct_ops", "ext", "lsm", "sk_lookup", "syscall", "netfilter",
)  # fmt: skip
# <asm-generic/resource.h>
_LIMITS = (
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS",
    "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
)  # fmt: skip
_ENVIRONMENT = 2
"""``enum sight``"""


def tamper(record: EventTamper, masker: Masker) -> Tamper:
    """Say what a record tells.

    Raises:
        ValueError: it has a number that means nothing.
        IndexError: so.
    """
    trick = KERNEL_TRICKS[record.trick]
    text = masker.mask(proc.text(record.text), cut=False)
    what, route = _words(trick, record, text)
    return Tamper(
        ts_ns=record.head.ts,
        pid=record.head.pid,
        trick=trick,
        what=what,
        denied=bool(record.denied),
        killed=bool(record.killed),
        route=route,
    )


def _words(trick: Trick, record: EventTamper, text: str) -> tuple[str, str]:
    """What was touched, and by which way."""
    if trick in (Trick.READ, Trick.TRACE):
        of = "environment" if record.argument == _ENVIRONMENT else "memory"
        return f"the {of} of {_WHOM[Protected(record.whom)]}", text
    if trick is Trick.SIGNAL:
        return f"{_signal(record.argument)} at {_WHOM[Protected(record.whom)]}", ""
    if trick is Trick.LIMIT:
        return f"{_limit(record.argument)} of {_WHOM[Protected(record.whom)]}", ""
    if trick is Trick.CGROUP:
        by = "" if record.argument == record.head.pid else f", by process {record.argument}"
        return f"{text}{by}", ""
    if trick is Trick.CLOCK:
        return "the time", text
    if trick is Trick.MOUNT:
        return "the pins of the guard's programs", text
    command = _COMMANDS.get(record.argument, f"bpf command {record.argument}")
    if trick is Trick.BPF:
        return f"the guard's {text}", command
    if record.argument == _PROG_LOAD:
        named = f" “{text}”" if text else ""
        return f"a BPF program{named} of type {_program_type(record.target)}", command
    return "a BPF program", command


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _limit(number: int) -> str:
    return _LIMITS[number] if number < len(_LIMITS) else f"limit {number}"


def _program_type(number: int) -> str:
    return _PROGRAM_TYPES[number] if number < len(_PROGRAM_TYPES) else str(number)


__all__ = ["tamper"]
