# SPDX-License-Identifier: MIT
"""A machine whose only programs are ``scenario.py`` and others beside it.

Its root file system is an archive in memory: busybox, Debian's Python, libbpf and the agent. It
boots in some seconds.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from vm import qemu
from vm.archive import Tree, archive
from vm.kernels import CACHE, ROOT, Kernel
from vm.packages import output

SCENARIO = Path("tests/vm/scenario.py")
RESUMING = SCENARIO.with_name("resuming.py")
_PARTS = ("loading.py", "tampering.py", "worker.py", RESUMING.name)
CHECKS = tuple(map(SCENARIO.with_name, ("scenario.py", "loading.py", "tampering.py")))
_PYTHON = Path("/usr/bin/python3")
_LIBRARIES = ("libbpf.so.1", "libgcc_s.so.1", "libssl.so.3")
"""The second one is asked for when a thread ends; the third one is looked into."""
# Nothing of these is imported, and they are most of the standard library's size.
_LEFT_OUT = ("test", "idlelib", "tkinter", "lib2to3", "ensurepip", "distutils", "__pycache__")
_MODULES = ("sch_ingress", "cls_bpf", "veth", "inet_diag", "tcp_diag")
"""Debian has these as modules, and ``init`` has nobody who loads them: the clsact qdisc and BPF
filters, and what destroys sockets."""

_INIT = """#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t cgroup2 none /sys/fs/cgroup
busybox mount -t tmpfs tmp /tmp
echo "kernel $(busybox uname -r)"
for module in /modules/*.ko; do busybox insmod "$module"; done
cd /leakstop
export PYTHONPATH=/leakstop/agent
failed=0
for program in {programs}; do /usr/bin/python3 -B $program || failed=1; done
echo "exit $failed"
busybox poweroff -f
"""


def boot(kernel: Kernel, *further: Path) -> str:
    """Run the scenario on ``kernel``, and ``further`` programs; return what they said."""
    root = CACHE / f"{kernel.directory.name}.cpio"
    programs = " ".join(map(str, (SCENARIO, *further)))
    with archive(root, _INIT.format(programs=programs)) as tree:
        for name in _MODULES:
            tree.write(f"modules/{name}.ko", kernel.module(name))
        tree.copy_with_libraries(_PYTHON)
        (tree.root / "bin/ip").symlink_to("busybox")
        (tree.root / "lib64").mkdir(exist_ok=True)
        _copy_standard_library(tree)
        for library in _LIBRARIES:
            tree.copy_with_libraries(next(Path("/usr/lib").glob(f"*-linux-gnu/{library}")))
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "agent", tree.root / "leakstop/agent", ignore=skip)
        for file in (SCENARIO, *(SCENARIO.with_name(name) for name in _PARTS)):
            tree.write(f"leakstop/{file}", (ROOT / file).read_bytes())
    return qemu.boot(kernel.image, root)


def _copy_standard_library(tree: Tree) -> None:
    version = output(str(_PYTHON), "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    library = Path(f"/usr/lib/python{version.strip()}")
    shutil.copytree(
        library,
        tree.root / library.relative_to("/"),
        ignore=shutil.ignore_patterns(*_LEFT_OUT, "config-*", "sitecustomize.py"),
        symlinks=False,
    )
    for extension in (library / "lib-dynload").glob("_ctypes*.so"):
        tree.copy_with_libraries(extension)


__all__ = ["CHECKS", "RESUMING", "boot"]
