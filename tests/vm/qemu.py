# SPDX-License-Identifier: MIT
"""Runs a virtual machine to its end. Software emulation (TCG) needs no rights and no KVM."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def boot(
    kernel: Path,
    initial: Path,
    *,
    parameters: str = "",
    disks: Sequence[Path] = (),
    devices: Sequence[str] = ("-nic", "none"),
    memory_mib: int = 1024,
    timeout_s: float = 300,
    popen: Callable[..., subprocess.Popen[str]] = subprocess.Popen,
) -> str:
    """Run the machine until it powers off and return its console's text.

    What it writes to its disks is forgotten.

    Its processor has no cmpxchg16b. QEMU 7.2 emulates that instruction wrongly when an interrupt
    comes in the middle, and the slab allocator of Linux 6.12 then panics, also before any program
    of ours runs; without the feature the kernel takes another way. And it has one processor: with
    two that are emulated side by side, one may run into an instruction that the other is patching,
    and the kernel dies of its own int3.
    """
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,-cx16"]
    command += ["-m", str(memory_mib), "-smp", "1"]
    command += ["-display", "none", "-monitor", "none", "-no-reboot", "-serial", "stdio", *devices]
    command += ["-kernel", str(kernel), "-initrd", str(initial)]
    command += ["-append", f"console=ttyS0 quiet panic=-1 {parameters}"]
    for disk in disks:
        command += ["-drive", f"file={disk},if=virtio,format=raw,snapshot=on"]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    with popen(command, text=True, errors="replace", **pipes) as machine:
        try:
            said, _ = machine.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            machine.kill()
            said, _ = machine.communicate()
            said += f"\nThe machine was stopped after {timeout_s} seconds.\n"
    return said


__all__ = ["boot"]
