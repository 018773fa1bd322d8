# SPDX-License-Identifier: MIT
"""The agent's own memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from leakstop.daemon import memory

AGENT = Path(memory.__file__).resolve().parents[2]
PROGRAM = """
import ctypes, json, resource
from leakstop.daemon import memory
note = memory.protect()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "note": note,
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    "locked": int(status["VmLck"].split()[0]),
}))
"""


def protected() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": str(AGENT)},
        capture_output=True,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_it_is_protected_or_says_so() -> None:
    found = protected()
    assert (found["core"], found["dumpable"]) == ([0, 0], 0)
    if found["note"]:
        assert "could not be locked" in str(found["note"])
    else:
        assert int(str(found["locked"])) > 0
    assert memory.can_lock() is not bool(found["note"])


def test_trying_it_changes_nothing_here() -> None:
    before = Path("/proc/self/status").read_text().partition("VmLck:")[2].split()[0]
    memory.can_lock()
    assert Path("/proc/self/status").read_text().partition("VmLck:")[2].split()[0] == before


def test_a_wiped_value_is_zeros() -> None:
    value = bytes(os.urandom(40).hex(), "ascii")
    other = bytes(bytearray(value))
    memory.wipe([value])
    assert value == bytes(len(other)) and other != value
