# SPDX-License-Identifier: MIT
"""Loads the data plane's object."""

from __future__ import annotations

import os
from pathlib import Path

from leakstop.bpf import fill
from leakstop.bpf.libbpf import BpfError, Object, library
from leakstop.bpf.uprobe import MULTI_SINCE, Uprobes
from leakstop.policy.rules import Policy
from leakstop.policy.tables import Tables
from leakstop.secrets.needles import NeedleTable
from leakstop.sensor.machine import kernel_version

_OBJECTS = Path(__file__).resolve().parent.parent / "bpf"
_SIGNAL_SINCE = (6, 16)
"""bpf_send_signal in cgroup programs (Linux commit ee971630f20f)."""


def load(
    policy: Policy,
    tables: Tables,
    needles: NeedleTable,
    *,
    uplinks: bool = False,
    finds: bool = False,
    cgroup: int = fill.ROOT_CGROUP,
    copy: int = fill.COPY,
) -> Object:
    """Load the programs with the helpers that this kernel should have, then without the newest.

    ``uplinks``: judge what leaves over an interface, whoever sent it. ``finds``: secrets may be
    added. ``cgroup``: id of the guarded one (its directory's inode).

    Raises:
        BpfError: the kernel refuses them.
    """
    wishes = (True, False) if kernel_version(os.uname().release) >= _SIGNAL_SINCE else (False,)
    for signal in wishes:
        opened = Object(library(), object_path())
        try:
            fill.configure(
                opened,
                policy,
                tables,
                needles,
                signal=signal,
                uplinks=uplinks,
                finds=finds,
                cgroup=cgroup,
                copy=copy,
            )
            if _has_multi():
                Uprobes.prepare(opened)
            opened.load()
        except BpfError:
            opened.close()
            if signal is wishes[-1]:
                raise
        else:
            return opened
    raise AssertionError("unreachable")


def uprobes(opened: Object) -> Uprobes:
    """What attaches the programs of a loaded object to files."""
    return Uprobes(opened, multi=_has_multi())


def _has_multi() -> bool:
    return kernel_version(os.uname().release) >= MULTI_SINCE


def object_path() -> Path:
    """The object for this machine's architecture."""
    return _OBJECTS / f"leakstop.{os.uname().machine}.bpf.o"


__all__ = ["load", "object_path", "uprobes"]
