# SPDX-License-Identifier: MIT
"""``leakstop run`` in block mode closes what leads around the hooks, and nothing else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab
from lab.guard import AGENT, DENIED, FINDINGS, Guarded
from leakstop.act import harden

pytestmark = pytest.mark.root

Run = Callable[..., Guarded]
BLOCK = "version: 1\nmode: block\nallow: home.test\n"
AUDIT = "version: 1\nmode: audit\nallow: home.test\n"
NOBODY = 65534
PACKET = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"

CLOSED = {
    "packet-raw": errno.EPERM,
    "packet-dgram": errno.EPERM,
    "packet-upper-half": errno.EPERM,
    "inet-sock-packet": errno.EPERM,
    "vsock": errno.EPERM,
    "xdp": errno.EPERM,
    "socketpair-tipc": errno.EPERM,
    "io_uring": errno.ENOSYS,
    "io_uring-enter": errno.ENOSYS,
    "bpf": errno.EPERM,
}
OPEN = ("inet-stream", "inet6-dgram", "unix", "netlink", "socketpair-unix", "no-new-privs")
if os.uname().machine == "x86_64":
    CLOSED |= {
        "int80-socket-packet": errno.EPERM,
        "int80-socketcall-packet": errno.EPERM,
        "int80-io_uring": errno.ENOSYS,
        "int80-bpf": errno.EPERM,
        "x32-getpid": errno.EPERM,
    }
    OPEN += ("int80-getpid",)
TAKEN = ("CAP_NET_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_PTRACE", "CAP_BPF")


@pytest.fixture
def probe(lab: Lab) -> Path:
    """``probe.c``, compiled."""
    program = lab.directory / "probe"
    subprocess.run(["gcc", "-o", program, Path(__file__).with_name("probe.c")], check=True)
    return program


def told(output: str) -> dict[str, int]:
    """What the probe printed."""
    return {name: int(code) for name, code in (line.split() for line in output.splitlines())}


def capabilities(sets: str) -> dict[str, int]:
    """The ``Cap`` lines of a ``/proc/PID/status``."""
    rows = (line.split() for line in sets.splitlines() if line.startswith("Cap"))
    return {name.rstrip(":"): int(value, 16) for name, value in rows}


def test_unguarded_these_are_ways_around(lab: Lab, probe: Path) -> None:
    """The twin: each fails for another reason, or not at all, where nothing closes it."""
    found = told(lab.run([probe]).stdout)
    assert found["packet-raw"] == found["packet-dgram"] == found["inet-sock-packet"] == 0
    assert {name for name in CLOSED if found[name] == CLOSED[name]} <= {"x32-getpid"}


@pytest.mark.parametrize("nested", [False, True])
def test_each_is_closed(leakstop: Run, probe: Path, nested: bool) -> None:
    command = ["sh", "-c", f"setsid sh -c '{probe}; true' & wait"] if nested else [probe]
    done = leakstop(command, policy=BLOCK)
    found = told(done.stdout)
    assert {name: found[name] for name in CLOSED} == CLOSED
    assert {name: found[name] for name in OPEN} == dict.fromkeys(OPEN, 0)
    assert harden.NOTE in done.report["coverage"]["notes"]


def test_audit_changes_nothing(leakstop: Run, lab: Lab, probe: Path) -> None:
    done = leakstop([probe], policy=AUDIT)
    assert told(done.stdout) == told(lab.run([probe]).stdout)
    assert harden.NOTE not in done.report["coverage"]["notes"]
    status = leakstop(["cat", "/proc/self/status"], policy=AUDIT).stdout
    assert capabilities(status) == capabilities(Path("/proc/self/status").read_text())


def test_root_cannot_get_the_capabilities_back(leakstop: Run) -> None:
    taken = sum(1 << harden._CAPABILITIES[name] for name in TAKEN)
    found = capabilities(leakstop(["cat", "/proc/self/status"], policy=BLOCK).stdout)
    before = capabilities(Path("/proc/self/status").read_text())
    assert found["CapBnd"] & taken == found["CapPrm"] & taken == 0
    # What is not taken stays: builds chown, mount and become other users.
    given_up = before["CapBnd"] & ~found["CapBnd"]
    assert given_up == sum(1 << number for number in harden._CAPABILITIES.values())


def test_root_changes_no_network(leakstop: Run) -> None:
    done = leakstop(["ip", "link", "add", "dummy0", "type", "dummy"], policy=BLOCK)
    assert done.code == 2
    assert "Operation not permitted" in done.stderr


def test_the_agents_memory_is_out_of_reach(leakstop: Run) -> None:
    """It holds the secrets. The agent is the sibling with a session of its own."""
    script = """\
import os
client = os.getppid()
others = open(f"/proc/{client}/task/{client}/children").read().split()
(agent,) = [pid for pid in map(int, others) if os.getsid(pid) == pid]
open(f"/proc/{agent}/mem", "rb").close()"""
    command = [sys.executable, "-c", script]
    opened = leakstop(command, policy=AUDIT)
    assert opened.code == FINDINGS and "PermissionError" not in opened.stderr
    assert [finding["id"] for finding in opened.report["findings"]] == ["guard-attacked"]
    closed = leakstop(command, policy=BLOCK)
    assert closed.code == 1 and "PermissionError: [Errno 13]" in closed.stderr


def test_a_setuid_program_still_becomes_root(lab: Lab) -> None:
    """As sudo on a hosted runner, where the command is an ordinary user's."""
    source, become = lab.directory / "become.c", lab.directory / "become"
    source.write_text(
        "#include <unistd.h>\nint main(int n, char **v)\n"
        "{ return setuid(0) ? 1 : execvp(v[1], v + 1); }\n"
    )
    subprocess.run(["gcc", "-o", become, source], check=True)
    become.chmod(0o4755)
    policy = lab.directory / "ci.yml"
    policy.write_text(BLOCK)
    env = {"PYTHONPATH": str(AGENT), "SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    run = [sys.executable, "-m", "leakstop", "run", "--policy", policy, "--"]
    done = lab.run([*run, become, "cat", "/proc/self/status"], env=env)
    assert done.returncode == 0, done.stderr
    assert "Uid:\t0\t0\t0\t0\n" in done.stdout
    found = capabilities(done.stdout)
    assert found["CapEff"] == found["CapBnd"] != 0
    refused = lab.run([*run, become, sys.executable, "-c", PACKET], env=env)
    assert refused.returncode == DENIED
    assert "PermissionError" in refused.stderr


ORDINARY = {
    "python": [sys.executable, "-c", "import socket,ssl,asyncio; asyncio.run(asyncio.sleep(0))"],
    "curl": ["curl", "-sS", "https://home.test/"],
    "node": ["node", "-e", "fetch('https://home.test/').then(r => r.text())"],
    "getent": ["getent", "hosts", "home.test"],
    "gcc": ["sh", "-c", "echo 'int main(void){return 0;}' | gcc -x c -o ./a.out - && ./a.out"],
    "own network": ["unshare", "-Urn", "ip", "link", "set", "lo", "up"],
    "mount": ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"],
    "other user": ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "id"],
    "own child": ["gdb", "-batch", "-ex", "run", "true"],
    "strace": ["strace", "-f", "-o", "/dev/null", "true"],
    "package": ["dpkg", "--audit"],
    "apt": ["apt-get", "-qq", "check"],
}


@pytest.mark.parametrize("name", sorted(ORDINARY))
def test_ordinary_things_work(leakstop: Run, name: str) -> None:
    command = ORDINARY[name]
    done = leakstop(command, policy=BLOCK)
    assert done.code == 0, done.stderr


def test_what_is_refused_is_said_where_it_happens(leakstop: Run) -> None:
    done = leakstop([sys.executable, "-c", PACKET], policy=BLOCK)
    assert "PermissionError: [Errno 1]" in done.stderr
    assert done.code == DENIED
    (seen,) = done.events("connect")
    assert (seen["via"], seen["family"], seen["applied"]) == ("socket", "packet", "deny")


def test_a_command_that_cannot_be_hardened_is_not_run(lab: Lab) -> None:
    """Root without CAP_SETPCAP, as in some containers: the guard loads, the rest is refused."""
    policy, ran = lab.directory / "ci.yml", lab.directory / "ran"
    policy.write_text(BLOCK)
    run = [sys.executable, "-m", "leakstop", "run", "--policy", policy, "--", "touch", ran]
    drop = ["setpriv", "--bounding-set=-setpcap"]
    done = lab.run([*drop, *run], env={"PYTHONPATH": str(AGENT)})
    assert done.returncode == 4
    assert "could not be hardened" in done.stderr and "Traceback" not in done.stderr
    assert not ran.exists()
