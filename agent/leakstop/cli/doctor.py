# SPDX-License-Identifier: MIT
"""``leakstop doctor``: what this machine offers, and which sensor a guard would use here.

Facts first, then the real thing: as root the programs are loaded and taken out again,
because only the kernel's verifier knows whether they load.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from dataclasses import dataclass
from typing import Any

from leakstop.act import cut
from leakstop.daemon import memory
from leakstop.errors import ExitCode, LeakstopError
from leakstop.sensor.machine import KERNEL_FLOOR, Machine
from leakstop.sensor.trial import Trial, try_load


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a guard would find here."""

    machine: Machine
    tried: bool
    """The programs were really loaded, or were refused."""
    obstacles: tuple[str, ...]
    """Why the kernel sensor does not work, in whole sentences; empty when it does."""
    sniffs: bool
    """The portable sensor could read DNS."""
    hangs: str = ""
    """Why a connection that is denied later than at its start hangs; empty if it is ended."""
    locks: bool = True
    """The agent's memory can be kept out of swap space."""
    undenied: str = ""
    """Why what root does to the guard is seen but not denied; empty if it is denied."""

    @property
    def sensor(self) -> str:
        """``kernel`` or ``portable``."""
        return "portable" if self.obstacles else "kernel"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what was found. 0: the kernel sensor works; 4: it does not."""
    diagnosis = diagnose(Machine.probe())
    if args.json:
        print(json.dumps(to_json(diagnosis), indent=2))
    else:
        print("\n".join(lines(diagnosis)))
    return ExitCode.UNSUPPORTED if diagnosis.obstacles else ExitCode.CLEAN


def diagnose(machine: Machine) -> Diagnosis:
    """Find out which sensor works on ``machine``, which must be this one."""
    obstacles = machine.missing()
    tried = not obstacles
    trial = _try_load() if tried else Trial()
    if trial.refused:
        obstacles = (trial.refused,)
    sniffs = "CAP_NET_RAW" in machine.capabilities and importlib.util.find_spec("scapy") is not None
    hangs = "" if obstacles else cut.refusal()
    locks = memory.can_lock()
    return Diagnosis(machine, tried, obstacles, sniffs, hangs, locks, trial.undenied)


def lines(diagnosis: Diagnosis) -> list[str]:
    """The answer in plain words, one fact a line."""
    machine = diagnosis.machine
    floor = ".".join(map(str, KERNEL_FLOOR))
    rights = ", ".join(sorted(machine.capabilities)) or "none of those that matter here"
    facts = [
        ("kernel", f"{machine.kernel} ({floor} or newer is needed)"),
        ("types (BTF)", "yes" if machine.btf else "no"),
        ("cgroup v2", str(machine.cgroup2 or "not mounted")),
        ("libbpf 1.x", str(machine.libbpf or "not installed")),
        ("BPF file system", str(machine.bpffs or "not mounted; the guard mounts its own")),
        ("systemd", "runs" if machine.systemd else "does not run; the agent detaches by itself"),
        ("container", f"signs of {machine.container}" if machine.container else "no sign of one"),
        ("user", f"uid {machine.uid}"),
        ("capabilities", rights),
        ("locked memory", "yes" if diagnosis.locks else "no: values of secrets may be swapped out"),
    ]
    width = max(len(name) for name, _ in facts)
    text = [f"{name:<{width}}  {value}" for name, value in facts]
    return [*text, "", *_conclusion(diagnosis)]


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The facts for programs."""
    machine = diagnosis.machine
    return {
        "sensor": diagnosis.sensor,
        "can_block": not diagnosis.obstacles,
        "programs_loaded": diagnosis.tried and not diagnosis.obstacles,
        "obstacles": list(diagnosis.obstacles),
        "can_cut": not (diagnosis.obstacles or diagnosis.hangs),
        "can_deny_root": not (diagnosis.obstacles or diagnosis.undenied),
        "can_lock_memory": diagnosis.locks,
        "portable_sees_dns": diagnosis.sniffs,
        "machine": {
            "kernel": machine.kernel,
            "btf": machine.btf,
            "cgroup2": str(machine.cgroup2 or ""),
            "libbpf": str(machine.libbpf or ""),
            "bpffs": str(machine.bpffs or ""),
            "systemd": machine.systemd,
            "container": machine.container,
            "capabilities": sorted(machine.capabilities),
            "uid": machine.uid,
        },
    }


def _conclusion(diagnosis: Diagnosis) -> list[str]:
    if not diagnosis.obstacles:
        return [
            "The kernel sensor works: its programs were loaded and taken out again.",
            "It sees every process, connection and DNS question, and `mode: block` can deny.",
            *_cutting(diagnosis.hangs),
            *_denying(diagnosis.undenied),
        ]
    if diagnosis.machine.uid != 0 and not diagnosis.tried:
        advice = "Ask again as root (`sudo leakstop doctor`): this is what an ordinary user can do."
    else:
        advice = "`mode: audit` can observe here; `mode: block` ends with exit code 4."
    seen = "and DNS questions" if diagnosis.sniffs else "but no DNS (that takes root and scapy)"
    return [
        "The kernel sensor does not work here:",
        *(f"  - {obstacle}" for obstacle in diagnosis.obstacles),
        "The portable sensor would be used. It looks four times a second, and sees processes",
        f"and connections that last that long, {seen}. It stops nothing.",
        advice,
    ]


def _cutting(hangs: str) -> list[str]:
    if not hangs:
        return ["A connection that turns out to be denied ends with an error at once."]
    return [
        "A connection that turns out to be denied sends nothing more, but its program is not told",
        f"and waits until it gives up: {hangs}.",
    ]


def _denying(undenied: str) -> list[str]:
    if not undenied:
        return ["`mode: block` also denies what root in the job does to the guard."]
    return [
        "What root in the job does to the guard is seen and fails the job, but `mode: block`",
        f"cannot deny it: {undenied}.",
    ]


def _try_load() -> Trial:
    try:
        return try_load()
    except LeakstopError as error:
        return Trial(f"{error.what}: {error.why}" if error.why else error.what)
