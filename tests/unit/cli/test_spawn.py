# SPDX-License-Identifier: MIT
"""Starting the guarded command, and what its end means. In a child: signals are blocked there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leakstop.cli import main as entry

AGENT = Path(entry.__file__).resolve().parents[2]

SCRIPT = """
import sys, os
from leakstop.cli.confined import Identity
from leakstop.cli.spawn import Command
me = Identity(os.geteuid(), os.getegid())
command = Command.start(sys.argv[1:], me, dict(os.environ), lambda: None)
sys.exit(command.wait(lambda: print("noticed", flush=True)))
"""


def start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *argv],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(*argv: str) -> tuple[int, str, str]:
    process = start(*argv)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


@pytest.mark.parametrize("code", [0, 1, 3, 77, 255])
def test_the_commands_own_code_is_returned(code: int) -> None:
    assert ends("sh", "-c", f"exit {code}")[0] == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_is_128_and_its_number(number: int) -> None:
    assert ends("sh", "-c", f"kill -{int(number)} $$")[0] == 128 + number


def test_a_command_that_is_not_there_is_127() -> None:
    code, _, err = ends("/nonexistent/program")
    assert code == 127
    assert err == "leakstop: /nonexistent/program: No such file or directory\n"


def test_a_command_that_cannot_be_run_is_126(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("no program")
    assert ends(str(file))[0] == 126


def test_the_path_is_searched() -> None:
    assert ends("true")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(number: int) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    process = start(
        "bash", "-c", f"trap 'exit 42' {name}; echo ready; while :; do sleep 0.01; done"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(10) == 42


def test_ctrl_c_of_a_terminal_reaches_the_command_once() -> None:
    """The terminal signals the whole foreground group itself: nothing may be passed on."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(AGENT)
        count = "n=0; trap 'n=$((n+1))' INT; echo ready; for i in $(seq 60); do sleep 0.01; done; "
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT, "bash", "-c", count + "exit $n"])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 100)
    time.sleep(0.05)
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 1


def test_the_command_has_no_blocked_signals_and_dies_of_broken_pipes() -> None:
    _, out, _ = ends("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    masks = {line.split()[0]: int(line.split()[1], 16) for line in out.splitlines()}
    assert masks["SigBlk:"] == 0
    assert not masks["SigIgn:"] & (1 << signal.SIGPIPE - 1)


def test_other_children_that_end_are_noticed() -> None:
    script = SCRIPT.replace(
        "command =", "os.fork() or (__import__('time').sleep(.2), os._exit(0))\ncommand ="
    )
    process = subprocess.run(
        [sys.executable, "-c", script, "sleep", "0.6"],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert process.stdout == "noticed\n"
