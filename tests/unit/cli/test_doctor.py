# SPDX-License-Identifier: MIT
"""What ``leakstop doctor`` says, and its exit code."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from leakstop.cli import doctor
from leakstop.cli.doctor import Diagnosis
from leakstop.sensor.machine import Machine
from leakstop.sensor.trial import Trial

RUNNER = Machine(
    kernel="6.17.0-1022-azure",
    btf=True,
    cgroup2=Path("/sys/fs/cgroup"),
    libbpf=Path("/usr/lib/x86_64-linux-gnu/libbpf.so.1"),
    bpffs=Path("/sys/fs/bpf"),
    systemd=True,
    container="",
    capabilities=frozenset({"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN"}),
    uid=0,
)
CONTAINER = replace(
    RUNNER,
    cgroup2=None,
    bpffs=None,
    systemd=False,
    container="docker",
    capabilities=frozenset({"CAP_NET_RAW"}),
)
USER = replace(RUNNER, capabilities=frozenset(), uid=1001)


@pytest.fixture
def doctor_on(monkeypatch, capsys):
    """Runs the command on a machine whose kernel answers ``refusal``."""

    def run(
        machine: Machine,
        *arguments: str,
        refusal: str = "",
        undenied: str = "",
        hangs: str = "",
    ) -> tuple[int, str]:
        monkeypatch.setattr(doctor.Machine, "probe", lambda: machine)
        monkeypatch.setattr(doctor, "try_load", lambda: Trial(refusal, undenied))
        monkeypatch.setattr(doctor.cut, "refusal", lambda: hangs)
        parser = argparse.ArgumentParser()
        doctor.configure(parser)
        code = doctor.run(parser.parse_args(list(arguments)))
        return code, capsys.readouterr().out

    return run


def test_a_machine_that_can(doctor_on):
    code, text = doctor_on(RUNNER)
    assert code == 0
    assert "The kernel sensor works" in text
    assert "6.17.0-1022-azure" in text and "/sys/fs/cgroup" in text


def test_a_kernel_that_cannot_end_connections(doctor_on):
    """It denies all the same, so it is a fact and no obstacle."""
    why = "the kernel was built without CONFIG_INET_DIAG_DESTROY"
    code, text = doctor_on(RUNNER, hangs=why)
    assert code == 0
    assert f"waits until it gives up: {why}." in text
    assert "with an error at once" in doctor_on(RUNNER)[1]
    assert not json.loads(doctor_on(RUNNER, "--json", hangs=why)[1])["can_cut"]
    assert json.loads(doctor_on(RUNNER, "--json")[1])["can_cut"]


def test_a_kernel_that_cannot_deny_what_root_does(doctor_on):
    why = "the kernel refused bpf_object__load: Operation not permitted"
    code, text = doctor_on(RUNNER, undenied=why)
    assert code == 0
    assert "The kernel sensor works" in text
    assert f"`mode: block`\ncannot deny it: {why}." in text
    assert "`mode: block` also denies what root" in doctor_on(RUNNER)[1]
    assert not json.loads(doctor_on(RUNNER, "--json", undenied=why)[1])["can_deny_root"]
    assert not json.loads(doctor_on(RUNNER, "--json", refusal="No.")[1])["can_deny_root"]
    assert json.loads(doctor_on(RUNNER, "--json")[1])["can_deny_root"]


def test_a_container(doctor_on):
    code, text = doctor_on(CONTAINER)
    assert code == 4
    assert "No cgroup v2 is mounted" in text and "may not be loaded" in text
    assert "portable sensor would be used" in text
    assert "`mode: block` ends with exit code 4" in text


def test_a_user_is_told_to_ask_as_root(doctor_on):
    code, text = doctor_on(USER)
    assert code == 4
    assert "sudo leakstop doctor" in text


def test_the_kernels_refusal_has_the_last_word(doctor_on):
    """Facts that look right prove nothing: programs are loaded for real."""
    code, text = doctor_on(RUNNER, refusal="The verifier refused on_connect4.")
    assert code == 4
    assert "- The verifier refused on_connect4." in text


def test_nothing_is_loaded_where_it_cannot_work(monkeypatch):
    monkeypatch.setattr(doctor, "try_load", lambda: pytest.fail("tried"))
    assert not doctor.diagnose(CONTAINER).tried


def test_json(doctor_on):
    code, text = doctor_on(RUNNER, "--json")
    answer = json.loads(text)
    assert code == 0
    assert (answer["sensor"], answer["can_block"], answer["programs_loaded"]) == (
        "kernel",
        True,
        True,
    )
    answer = json.loads(doctor_on(CONTAINER, "--json")[1])
    assert (answer["sensor"], answer["can_block"], answer["programs_loaded"]) == (
        "portable",
        False,
        False,
    )
    assert answer["machine"]["cgroup2"] == ""
    assert len(answer["obstacles"]) == 2
    assert not answer["can_cut"]


def test_dns_is_promised_only_with_the_right_to_read_packets():
    can = Diagnosis(CONTAINER, tried=False, obstacles=("x.",), sniffs=True)
    assert "and DNS questions" in "\n".join(doctor.lines(can))
    assert "but no DNS" in "\n".join(doctor.lines(replace(can, sniffs=False)))


@pytest.mark.root
def test_this_machine_for_real(capsys):
    """Root, and the programs of this checkout: they load."""
    code = doctor.run(argparse.Namespace(json=True))
    assert (code, json.loads(capsys.readouterr().out)["programs_loaded"]) == (0, True)
