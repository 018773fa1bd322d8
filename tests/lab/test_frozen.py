# SPDX-License-Identifier: MIT
"""Nobody changes the tables of a running guard, root neither."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import cgroup
from leakstop.bpf import pins
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.secrets.inventory import Secret
from leakstop.sensor.kernel import KernelSensor
from plans import plan_of

pytestmark = pytest.mark.root

FROZEN = ("names", "budgets", "networks", "ports", "resolvers")


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[KernelSensor]:
    policy = Policy(mode=Mode.BLOCK)
    known = (Secret("TOKEN", os.urandom(20).hex().encode()),)
    with cgroup.child() as path:
        plan = plan_of(policy, known, cgroup=path, run_dir=tmp_path, resolvers=("192.0.2.53",))
        guard = KernelSensor(plan)
        guard.start()
        try:
            yield guard
        finally:
            guard.close()


def map_id(sensor: KernelSensor, name: str) -> str:
    assert sensor._object is not None
    info = Path(f"/proc/self/fdinfo/{sensor._object.map(name).fd}").read_text()
    found = re.search(r"map_id:\s*(\d+)", info)
    assert found
    return found[1]


def bpftool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bpftool", *words], capture_output=True, text=True)


@pytest.mark.parametrize("name", [*FROZEN, ".rodata"])
def test_maps_are_frozen(sensor: KernelSensor, name: str) -> None:
    identity = map_id(sensor, name)
    shown = bpftool("--json", "map", "show", "id", identity).stdout
    sizes = [int(n) for n in re.findall(r'"bytes_(?:key|value)":(\d+)', shown)]
    assert len(sizes) == 2
    key, value = (["hex", *["00"] * size] for size in sizes)
    done = bpftool("map", "update", "id", identity, "key", *key, "value", *value)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stdout + done.stderr


def test_the_pins_go_with_the_guard(sensor: KernelSensor, tmp_path: Path) -> None:
    assert {path.name for path in (tmp_path / "bpf").iterdir()} >= {"on_connect4", "on_egress"}
    sensor.close()
    assert list((tmp_path / "bpf").iterdir()) == []
    assert pins.release(tmp_path) == 0


def test_what_is_pinned_is_held_for_the_next_agent(sensor: KernelSensor, tmp_path: Path) -> None:
    """Denials too, which not every kernel has: whatever a pin is called that is no probe's."""
    directory = tmp_path / "bpf"
    for name in ("deny_open", f"{pins.PROBE}1-2-3-4-5"):
        sensor._attachment._places["on_fork"].link.pin(directory / name)
    found = pins.held(directory)
    for descriptor in found.values():
        os.close(descriptor)
    # The kernel's own have a dot, and cannot be opened.
    rest = {name for name in pins.names(directory) - set(found) if "." not in name}
    assert {"deny_open", "on_fork", "maps/events"} < set(found)
    assert {name for name in rest if not name.startswith(pins.PROBE)} == {pins.MAPS}
    assert f"{pins.PROBE}1-2-3-4-5" in rest
