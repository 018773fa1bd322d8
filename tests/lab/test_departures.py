# SPDX-License-Identifier: MIT
"""Programs on interfaces are gone when the guard is, by whichever way they were attached."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lab import Lab, cgroup
from lab.departures import departures, everything, frames
from lab.guard import AGENT
from lab.namespace import Namespace
from leakstop.bpf import pins, tc
from leakstop.bpf.libbpf import BpfError, Object
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.needles import build
from leakstop.sensor.load import load

pytestmark = pytest.mark.root

LEAKSTOP = [sys.executable, "-m", "leakstop"]
ENVIRON = {"PYTHONPATH": str(AGENT)}


DEVICE = "service0"


@pytest.fixture
def opened() -> Iterator[Object]:
    with closing(_loaded()) as made:
        yield made


def _loaded() -> Object:
    return load(Policy(), compile_tables(Policy()), build(()))


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As below Linux 6.6, where there is no tcx."""

    def refuse(*_: int) -> None:
        raise BpfError("EINVAL")

    monkeypatch.setattr(tc.TcxLink, "create", refuse)


@pytest.fixture
def pinned(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "bpf"
    pins.mount(directory)
    yield directory
    lab.services.call(lambda: pins.release(directory))


def attach(lab: Lab, opened: Object) -> tc.Attachment:
    """Attach on the services' side: there only the network is another one than ours."""
    index = lab.services.call(lambda: socket.if_nametoindex(DEVICE))
    return lab.services.call(lambda: tc.attach(opened, "on_departure", index))


def guard(lab: Lab, opened: Object, directory: Path) -> None:
    """Attach, pin, and forget it, as an agent that is killed does."""
    made = attach(lab, opened)
    made.pin(directory)
    made.close()


def state(lab: Lab) -> tuple[int, bool]:
    """How many filters there are, and whether there is a qdisc for them."""

    def show(*words: str) -> str:
        command = ["tc", words[0], "show", "dev", DEVICE, *words[1:]]
        return lab.services.call(lambda: subprocess.check_output(command, text=True))

    return show("filter", "egress").count("direct-action"), "clsact" in show("qdisc")


def wait_until_gone(namespace: Namespace, device: str) -> None:
    """The kernel lets go of a link a moment after its last holder."""
    deadline = time.monotonic() + 5
    while departures(namespace, device):
        assert time.monotonic() < deadline, "the program is still there"


@pytest.mark.usefixtures("old_kernel")
def test_a_filter_goes_with_its_pin_and_its_qdisc(lab: Lab, opened: Object, pinned: Path) -> None:
    guard(lab, opened, pinned)
    assert state(lab) == (1, True)
    assert lab.services.call(lambda: pins.release(pinned)) == 1
    assert state(lab) == (0, False)


@pytest.mark.usefixtures("old_kernel")
def test_a_qdisc_that_others_use_stays(lab: Lab, opened: Object, pinned: Path) -> None:
    guard(lab, opened, pinned)
    with closing(_loaded()) as others:
        attach(lab, others)
        lab.services.call(lambda: pins.release(pinned))
        assert state(lab) == (1, True)


@pytest.mark.usefixtures("old_kernel")
def test_a_qdisc_that_was_there_stays(lab: Lab, opened: Object, pinned: Path) -> None:
    make = ["tc", "qdisc", "add", "dev", DEVICE, "clsact"]
    lab.services.call(lambda: subprocess.run(make, check=True))
    guard(lab, opened, pinned)
    lab.services.call(lambda: pins.release(pinned))
    assert state(lab) == (0, True)


@pytest.mark.usefixtures("old_kernel")
def test_one_that_was_never_pinned_is_removed(lab: Lab, opened: Object) -> None:
    made = attach(lab, opened)
    lab.services.call(made.close)
    assert state(lab) == (0, False)


@pytest.mark.usefixtures("old_kernel")
def test_nothing_is_removed_in_another_namespace(lab: Lab, opened: Object, pinned: Path) -> None:
    guard(lab, opened, pinned)
    lab.job.call(lambda: tc.remove_filters(pinned))
    assert state(lab) == (1, True)


def test_a_link_goes_with_its_pin(lab: Lab, opened: Object, pinned: Path) -> None:
    guard(lab, opened, pinned)
    assert departures(lab.services, DEVICE) == 1
    pins.release(pinned)
    wait_until_gone(lab.services, DEVICE)


def test_a_killed_agents_programs_stay_until_stop(lab: Lab) -> None:
    run_dir = lab.directory / "agent"
    with cgroup.child() as group:
        place = ["--cgroup", str(group), "--run-dir", str(run_dir), "--mode", "block"]
        assert lab.run([*LEAKSTOP, "start", *place], env=ENVIRON).returncode == 0
        assert len(lab.job.processes()) == 2
        while agents := lab.job.processes():  # the supervisor, too: it starts others
            for pid in agents:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        assert departures(lab.job, "job0") == 1
        dig = lab.run(cgroup.command_in(group, ["dig", "denied.test"]))
        assert "NXDOMAIN" in dig.stdout
        lab.run([*LEAKSTOP, "stop", "--run-dir", run_dir], env=ENVIRON)
        for device in ("job0", "lo"):
            wait_until_gone(lab.job, device)


def test_a_refused_question_does_not_leave_when_the_guard_does(lab: Lab) -> None:
    """It waits for a neighbour's address, which is found only when the guard is going."""
    late = "203.0.113.99"
    policy = lab.directory / "late.yml"
    policy.write_text(f"version: 1\nmode: block\nallow: udp://{late}:53\n")
    wire = lab.services.call(everything)
    ask = f"dig @{late} +tries=1 +time=1 denied.test; echo asked"
    with (
        wire,
        lab.popen(
            [*LEAKSTOP, "run", "--policy", policy, "--", "sh", "-c", ask],
            env=ENVIRON,
            stdout=subprocess.PIPE,
        ) as guarded,
    ):
        assert guarded.stdout
        assert "asked\n" in iter(guarded.stdout.readline, "")
        add = ["ip", "address", "add", f"{late}/32", "dev", DEVICE]
        lab.services.call(lambda: subprocess.run(add, check=True))
        guarded.wait(20)
        time.sleep(1.5)  # the kernel asks for the address once a second
        caught = frames(wire)
    asked_for = socket.inet_aton(late)
    assert [frame for frame in caught if frame[38:42] == asked_for], "nothing was under way"
    assert not [frame for frame in caught if b"\6denied" in frame]
