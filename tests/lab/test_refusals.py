# SPDX-License-Identifier: MIT
"""A refused question is answered at once: whoever asks again must not wait for his patience."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab, cgroup
from lab.departures import departures, everything, frames
from lab.guard import AGENT, DENIED, Guarded
from lab.machine import machine
from lab.network import BARE, RESOLVER, RESOLVER6
from leakstop.bpf import values

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

LEAKSTOP = [sys.executable, "-m", "leakstop", "run"]
ENVIRON = {"PYTHONPATH": str(AGENT)}
LIMIT_S = 0.5
"""For one name; what has to be loaded for it is loaded before."""
NAME = "denied.test"
ALLOW = f"""\
version: 1
allow: |
  home.test
  udp://[{RESOLVER6}]:53
  udp://198.51.100.53:53
"""
TIMED = """\
import subprocess, sys, time
for _ in range(2):
    began = time.monotonic()
    done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
    took = time.monotonic() - began
print(done.returncode, done.stdout, done.stderr, took)
"""
PYTHON = f"""\
import socket, time
began = time.monotonic()
try: print("found", socket.getaddrinfo("{NAME}", 443))
except socket.gaierror as error: print(error)
print(time.monotonic() - began)
"""
NODE = f"""\
const began = process.hrtime.bigint()
require("dns").CALL("{NAME}", error =>
  console.log(error ? error.code : "found", Number(process.hrtime.bigint() - began) / 1e9))
"""
MUSL = """\
#include <netdb.h>
#include <stdio.h>
int main(int argc, char **argv)
{
	struct addrinfo *found;
	int failed = getaddrinfo(argv[1], "443", 0, &found);

	puts(failed ? gai_strerror(failed) : "found");
	return !failed;
}
"""
GO = """\
package main
import ("context"; "fmt"; "net"; "os")
func main() {
	_, err := (&net.Resolver{PreferGo: true}).LookupHost(context.Background(), os.Args[1])
	fmt.Println(err)
}
"""


def timed(*command: str) -> list[str]:
    return [sys.executable, "-c", TIMED, *command]


CLIENTS: dict[str, list[str]] = {
    "getent": timed("getent", "ahosts", NAME),
    "curl": timed("curl", "-sS", f"http://{NAME}/"),
    "python": [sys.executable, "-c", PYTHON],
    "node lookup": ["node", "-e", NODE.replace("CALL", "lookup")],
    "node resolve4": ["node", "-e", NODE.replace("CALL", "resolve4")],
    "dig": timed("dig", NAME),
    "dig without EDNS": timed("dig", "+noedns", NAME),
    "dig over IPv6": timed("dig", f"@{RESOLVER6}", NAME),
    "nslookup": timed("nslookup", NAME),
    "host": timed("host", NAME),
    "busybox": timed("busybox", "nslookup", NAME),
}


def took(run: Guarded) -> float:
    return float(run.stdout.split()[-1])


def assert_quick(lab: Lab, run: Guarded) -> None:
    assert run.code == DENIED, run.stderr
    assert took(run) < LIMIT_S, run.stdout
    assert not lab.dns.asked(NAME)
    assert not lab.dns.received(b"denied")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_denial_is_quick(lab: Lab, leakstop: Guard, client: str) -> None:
    assert_quick(lab, leakstop(CLIENTS[client], mode="block", policy=ALLOW))


@pytest.mark.parametrize(
    ("compiler", "source"),
    [("musl-gcc", MUSL), ("go", GO)],
)
def test_other_resolvers_are_quick_too(
    lab: Lab, leakstop: Guard, tmp_path: Path, compiler: str, source: str
) -> None:
    program, text = lab.directory / "ask", tmp_path / ("ask.go" if compiler == "go" else "ask.c")
    text.write_text(source)
    build = ["go", "build"] if compiler == "go" else [compiler, "-static"]
    subprocess.run([*build, "-o", program, text], check=True, cwd=tmp_path)
    assert_quick(lab, leakstop(timed(str(program), NAME), mode="block", policy=ALLOW))


def test_what_is_allowed_is_answered_by_the_resolver(lab: Lab, leakstop: Guard) -> None:
    run = leakstop(["dig", "+short", "home.test"], mode="block", policy=ALLOW)
    assert (run.code, run.stdout) == (0, "203.0.113.20\n")
    assert lab.dns.asked("home.test")


def test_in_audit_mode_nothing_is_answered_for_the_resolver(lab: Lab, leakstop: Guard) -> None:
    assert leakstop(["dig", NAME], mode="audit", policy=ALLOW).code == 0
    assert lab.dns.asked(NAME)


STUB = f"""\
import os, socket, subprocess, sys, time
stub = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stub.bind(("127.0.0.53", int(sys.argv[1])))
if os.fork() == 0:
    while True:  # a server that has no word of its own for "refused": it asks until it hears
        query, asker = stub.recvfrom(4096)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(3)
            try:
                upstream.sendto(query, ("{RESOLVER}", 53))
                stub.sendto(upstream.recv(4096), asker)
            except OSError:
                pass
sys.argv[1:2] = []
exec({TIMED!r})
"""


@pytest.mark.parametrize(
    ("port", "allow"),
    [
        pytest.param("53", "  udp://127.0.0.53:53\n", id="the question to the stub"),
        pytest.param("5353", "", id="the question of the stub"),
    ],
)
def test_behind_a_stub_a_denial_is_quick(lab: Lab, leakstop: Guard, port: str, allow: str) -> None:
    ask = ["dig", "@127.0.0.53", "-p", port, NAME]
    run = leakstop([sys.executable, "-c", STUB, port, *ask], mode="block", policy=ALLOW + allow)
    assert_quick(lab, run)
    assert "NXDOMAIN" in run.stdout


TUN = f"""\
import fcntl, os, struct, subprocess, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun9", 0x1001))  # IFF_TUN, IFF_NO_PI
for words in ("address add 198.51.100.9/24 dev tun9", "link set tun9 up",
              "route replace 198.51.100.53/32 dev tun9"):
    subprocess.run(["ip", *words.split()], check=True)
subprocess.run(["sleep", "0.3"])
exec({TIMED!r})
os.set_blocking(tun, False)
try:
    while True:
        if b"denied" in os.read(tun, 4096): print("found in the tunnel")
except BlockingIOError:
    pass
print(took)
"""


def test_an_interface_that_appears_later_and_has_no_link_header(lab: Lab) -> None:
    ask = ["dig", "@198.51.100.53", NAME]
    with machine(lab, mode="block", allow=["udp://198.51.100.53:53"]) as guarded:
        out = guarded.run(sys.executable, "-c", TUN, *ask)
        assert guarded.stop() == DENIED
    assert "found in the tunnel" not in out
    assert "NXDOMAIN" in out
    assert float(out.split()[-1]) < LIMIT_S


ELSEWHERE = f"""\
import ctypes, os, socket, subprocess, sys, time
# CLONE_NEWUSER, CLONE_NEWNET: its own root may do there what ours may not; interfaces are
# numbered from 1 here too.
ctypes.CDLL(None).unshare(0x50000000)
open("/proc/self/uid_map", "w").write("0 0 1")
for words in ("link set lo up", "link add job0 type veth peer name far0",
              "link set job0 up", "link set far0 up",
              "address add 203.0.113.2/24 dev job0"):
    subprocess.run(["ip", *words.split()], check=True)
began = time.monotonic()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    asker.settimeout(3)
    try:
        asker.sendto(bytes.fromhex("123401000001000000000000") + b"\\6denied\\4test\\0\\0\\1\\0\\1",
                     ("{RESOLVER}", 53))
        print("sent")
    except PermissionError:
        print("refused")
print(time.monotonic() - began)
"""


def test_where_no_program_answers_the_question_goes_nowhere(lab: Lab, leakstop: Guard) -> None:
    run = leakstop([sys.executable, "-c", ELSEWHERE], mode="block", policy=ALLOW)
    assert "refused" in run.stdout, run.stdout + run.stderr
    assert took(run) < LIMIT_S


def test_programs_are_there_for_as_long_as_the_guard(lab: Lab) -> None:
    running = lab.popen(
        [*LEAKSTOP, "--mode", "block", "--", "sh", "-c", "echo up; read _"],
        env=ENVIRON,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout and running.stdout.readline() == "up\n"
    assert {name: departures(lab.job, name) for name in ("lo", "job0")} == {"lo": 1, "job0": 1}
    running.communicate("\n", timeout=20)
    assert {name: departures(lab.job, name) for name in ("lo", "job0")} == {"lo": 0, "job0": 0}


FORGE = """\
import json, socket, struct, subprocess

def shown(*words):
    return json.loads(subprocess.check_output(["bpftool", "-j", *words]))

# Root can read the mark, the last word of struct config. Only our own guard's will do.
group = open("/proc/self/cgroup").read().rpartition("0::")[2].strip()
(hook,) = [one["id"] for one in shown("cgroup", "show", "{mount}" + group)
           if one["name"] == "on_egress"]
program = shown("prog", "show", "id", str(hook))
marks = []
for identity in program["map_ids"]:
    if shown("map", "show", "id", str(identity))["name"].endswith(".rodata"):
        (entry,) = shown("map", "dump", "id", str(identity))
        raw = bytes(int(byte, 16) for byte in entry["value"])
        marks += struct.unpack_from("<I", raw, {size} - 4)
assert marks
question = bytes.fromhex("123401000001000000000000") + b"\\6forged\\4test\\0\\0\\1\\0\\1"
for mark in (0, *marks):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, 36, struct.pack("I", mark))  # SO_MARK
        for payload in (b"data-%d" % bool(mark), question + b"more-%d" % bool(mark)):
            sender.sendto(payload, ("{address}", 9999))
"""


def test_a_forged_mark_leads_nowhere(lab: Lab, leakstop: Guard) -> None:
    forge = FORGE.format(
        size=ctypes.sizeof(values.Config), address=BARE, mount=cgroup.mount_point()
    )
    run = leakstop([sys.executable, "-c", forge], mode="audit")
    assert run.code == 0, run.stderr
    assert lab.collector.received(b"data-0") and lab.collector.received(b"more-0")
    assert not lab.collector.received(b"data-1") and not lab.collector.received(b"more-1")


# What comes in for another machine's address is sent on to it: the answer, with the name in it.
BORROWED = f"""\
import socket
import subprocess, sys, time
open("/proc/sys/net/ipv6/conf/all/forwarding", "w").write("1")
if sys.argv[1]:
    subprocess.run(["ip", "neighbour", "replace", "{RESOLVER6}", "lladdr", sys.argv[1],
                    "dev", "job0"], check=True)
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asker:
    asker.setsockopt(41, 78, 1)  # IPV6_FREEBIND needs no right
    asker.bind(("2001:db8::66", 0))
    query = bytes.fromhex("123401000001000000000000") + b"\\6denied\\4test\\0\\0\\1\\0\\1"
    asker.sendto(query, ("{RESOLVER6}", 53))
time.sleep(0 if sys.argv[1] else 3.5)  # until the kernel gives up finding the neighbour
"""


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("neighbour", ["known", "unknown"])
def test_no_answer_is_sent_on_to_a_borrowed_address(
    lab: Lab, leakstop: Guard, mode: str, neighbour: str
) -> None:
    hardware = lab.services.call(_hardware) if neighbour == "known" else ""
    with lab.services.call(everything) as wire:
        leakstop([sys.executable, "-c", BORROWED, hardware], mode=mode, policy=ALLOW)
        assert any(b"\6denied" in frame for frame in frames(wire)) == (mode == "audit")


def _hardware() -> str:
    shown = subprocess.check_output(["ip", "-o", "link", "show", "service0"], text=True)
    return shown.partition("link/ether ")[2].split()[0]


def test_without_uplinks_there_is_none(lab: Lab) -> None:
    ask = ["dig", "+tries=1", "+time=1", NAME]
    done = lab.run([*LEAKSTOP, "--mode", "block", "--uplinks", "none", "--", *ask], env=ENVIRON)
    assert done.returncode == DENIED
    assert "no servers could be reached" in done.stdout
    assert not lab.dns.asked(NAME)
