# SPDX-License-Identifier: MIT
"""Hands laid on the guard, on the runner, or on what both stand on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Trick(str, Enum):
    """What was done. The kernel's own come first: ``enum trick`` of ``bpf/leakstop.h`` has their
    order."""

    BPF = "bpf"
    """Our programs, their links or their maps, by bpf(2)."""
    SIGNAL = "signal"
    """A signal at the agent, or one that makes the runner's worker dump its memory."""
    TRACE = "trace"
    """ptrace at the agent, or its memory."""
    READ = "read"
    """The memory or the environment of the runner's worker."""
    CGROUP = "cgroup"
    """Out of the guarded cgroup."""
    CLOCK = "clock"
    """The time was set."""
    PROGRAMS = "programs"
    """BPF programs of somebody else's, loaded or attached."""
    MOUNT = "mount"
    """What the guard has mounted, or pinned."""
    LIMIT = "limit"
    """A resource limit of the agent's or of the runner's worker."""
    FIREWALL = "firewall"
    """Rules of netfilter."""
    REWRITE = "rewrite"
    """Filters of traffic control that give packets another address, behind the guard."""
    ROUTES = "routes"
    """Routes, routing rules, addresses."""
    RESOLVER = "resolver"
    """Who answers for names: resolv.conf, the hosts file and the like."""
    PRIVILEGES = "privileges"
    """Who may become root, or what every program loads: sudoers, ld.so.preload."""
    ACTION = "action"
    """The action's own files, or the node that runs them."""
    ENVIRONMENT = "environment"
    """A variable for later steps that changes what a program does before it runs."""
    RUNNER_LOG = "runner-log"
    """The runner's diagnostic log, which names the steps."""
    FINISH = "finish"
    """The guard's end, or a change of it, asked for by somebody who may not."""
    JOURNAL = "journal"
    """The agent's own record of what happened."""


KERNEL_TRICKS = tuple(Trick)[: list(Trick).index(Trick.FIREWALL)]
"""Those that a record of the kernel's ring tells of."""


@dataclass(frozen=True, slots=True)
class Tamper:
    """Somebody laid hands on the guard, the runner, or what both stand on."""

    ts_ns: int
    pid: int
    """Who; 0 if that is not known."""
    trick: Trick
    what: str
    """What was touched or done, in words for people (secrets masked), e.g. ``SIGSTOP`` or
    ``/etc/hosts``."""
    denied: bool = False
    """It did not take place."""
    killed: bool = False
    """The kernel killed the process."""
    route: str = ""
    """By which way, e.g. ``process_vm_readv``; empty if there is but one. Where nobody was seen,
    how it was found, e.g. ``cut short``."""
    mended: bool = False
    """The agent has put it right."""


__all__ = ["KERNEL_TRICKS", "Tamper", "Trick"]
