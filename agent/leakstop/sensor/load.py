# SPDX-License-Identifier: MIT
"""Loads the data plane's object."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from leakstop.bpf import fill, object_file, values
from leakstop.bpf.libbpf import BpfError, Object, library
from leakstop.bpf.uprobe import MULTI_SINCE, Uprobes
from leakstop.errors import UnsupportedError
from leakstop.policy.rules import Policy
from leakstop.policy.tables import Tables
from leakstop.secrets.needles import NeedleTable
from leakstop.sensor.inheritance import Inheritance
from leakstop.sensor.machine import kernel_version

_OBJECTS = Path(__file__).resolve().parent.parent / "bpf"
_CONFIG, _CONFIG_SIZE = ".rodata", ctypes.sizeof(values.Config)
_SIGNAL_SINCE = (6, 16)
"""bpf_send_signal in cgroup programs (Linux commit ee971630f20f)."""


def require_machine(cgroup: Path | None) -> None:
    """See to what no error of the kernel's would explain.

    Raises:
        UnsupportedError: this machine cannot do it, and why.
    """
    if os.geteuid() != 0:
        raise UnsupportedError(
            "the kernel sensor needs root",
            why="only root may load BPF programs",
            fix="`sudo leakstop …`",
        )
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise UnsupportedError(
            "this kernel has no BTF",
            why="/sys/kernel/btf/vmlinux is missing, so the programs cannot be fitted to it",
            fix="use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions' kernels are",
        )
    if not object_path().exists():
        raise UnsupportedError(
            f"there is no data plane for {os.uname().machine}",
            fix="use a machine with x86_64 or aarch64",
        )
    if cgroup is not None and not cgroup.is_dir():
        raise UnsupportedError("the cgroup to guard is not there", where=str(cgroup))


def load(
    policy: Policy,
    tables: Tables,
    needles: NeedleTable,
    *,
    uplinks: bool = False,
    finds: bool = False,
    cgroup: int = fill.ROOT_CGROUP,
    copy: int = fill.COPY,
    worker: int = 0,
) -> Object:
    """Load the programs with the helpers that this kernel should have, then without the newest.

    ``uplinks``: judge what leaves over an interface, whoever sent it. ``finds``: secrets may be
    added. ``cgroup``: id of the guarded one (its directory's inode). ``worker``: the process whose
    children are steps.

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
                worker=worker,
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


def load_upon(inherited: Inheritance) -> Object:
    """Load the programs upon the maps of a guard in force.

    Raises:
        BpfError: the kernel refuses them, or a map is missing.
    """
    opened = Object(library(), object_path())
    try:
        inherited.fill(opened)
        if _has_multi():
            Uprobes.prepare(opened)
        opened.load()
    except BpfError:
        opened.close()
        raise
    return opened


def load_denials(guard: Object) -> Object:
    """Load what denies hands on the guard, upon the maps of the loaded data plane.

    Raises:
        BpfError: this kernel has no fentry, or refuses them for another reason.
    """
    opened = Object(library(), object_path("deny"))
    try:
        constants = guard.map(_CONFIG)
        config = constants.lookup(bytes(4), constants.value_size)
        assert config is not None, "an array has all of its entries"
        opened.map(_CONFIG).preset(config[:_CONFIG_SIZE])
        for each in opened.maps():
            if "." not in each.name:  # sections are an object's own
                each.adopt(guard.map(each.name).fd)
        opened.load()
        # Some kernels load them and cannot attach them: aarch64 before 6.4.
        opened.attach(opened.programs()[0]).close()
    except BpfError:
        opened.close()
        raise
    return opened


def read_objects() -> None:
    """Read the objects into memory, for a later agent; one that is not there is missed then."""
    for path in (object_path(), object_path("deny")):
        with contextlib.suppress(OSError):
            object_file.read(path)


def uprobes(opened: Object) -> Uprobes:
    """What attaches the programs of a loaded object to files."""
    return Uprobes(opened, multi=_has_multi())


def _has_multi() -> bool:
    return kernel_version(os.uname().release) >= MULTI_SINCE


def object_path(name: str = "leakstop") -> Path:
    """The object for this machine's architecture: the data plane, or ``deny``."""
    return _OBJECTS / f"{name}.{os.uname().machine}.bpf.o"


__all__ = [
    "load",
    "load_denials",
    "load_upon",
    "object_path",
    "read_objects",
    "require_machine",
    "uprobes",
]
