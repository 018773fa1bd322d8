# SPDX-License-Identifier: MIT
"""A machine like a hosted runner, whose only service of its own is ``vm.runner``.

The disk is Debian (``image``); a second one brings the agent, the tests and ``act``.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from e2e.acting import act
from vm import qemu
from vm.archive import archive
from vm.image import image, write_disk
from vm.internet import Internet
from vm.kernels import CACHE, ROOT, Kernel

_LSMS = "lockdown,capability,landlock,yama,apparmor"
"""Those of a hosted runner: without ``bpf``, so that no BPF program can be one."""
_PARAMETERS = f"lsm={_LSMS} systemd.show_status=false fsck.mode=skip"
_TIMEOUT_S = 1500
"""Several times what it takes."""

_INIT = """#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
busybox insmod /virtio_blk.ko
echo "kernel $(busybox uname -r), like a hosted runner"
busybox mkdir /machine
busybox mount -t ext4 /dev/vda /machine
busybox mount -t ext4 -o ro /dev/vdb /machine/leakstop
busybox mount -o move /dev /machine/dev
exec busybox switch_root /machine /lib/systemd/systemd
"""


def boot(kernel: Kernel) -> str:
    """Run the scenario on ``kernel`` and return what it said."""
    disk = image(kernel)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory, Internet() as internet:
        scratch = Path(directory)
        _write_payload(scratch / "tree", scratch / "payload", internet.directory / "ca.pem")
        with archive(scratch / "initial.cpio", _INIT) as tree:
            tree.write("virtio_blk.ko", kernel.module("virtio_blk"))
        return qemu.boot(
            kernel.image,
            scratch / "initial.cpio",
            parameters=_PARAMETERS,
            disks=[disk, scratch / "payload"],
            devices=[*internet.card, *internet.telling(scratch / "line")],
            memory_mib=2048,
            timeout_s=_TIMEOUT_S,
            popen=lambda *a, **k: internet.services.call(lambda: subprocess.Popen(*a, **k)),
        )


def _write_payload(tree: Path, disk: Path, authority: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("agent", "policies", "tests/e2e", "tests/lab", "tests/vm"):
        shutil.copytree(ROOT / name, tree / name, ignore=skip)
    for file in (ROOT / "action.yml", authority):
        shutil.copy(file, tree)
    (tree / "bin").mkdir()
    shutil.copy(act(), tree / "bin/act")
    write_disk(tree, disk, "80M")


__all__ = ["boot"]
