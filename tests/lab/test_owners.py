# SPDX-License-Identifier: MIT
"""Whose a flow is: rules for a step hold of its processes, whatever becomes of them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import Lab
from lab.guard import agent_of
from lab.network import BARE, OTHER, RESOLVER
from lab.steps import job, python, wait_for
from leakstop.policy.scopes import PROGRAM_BYTES

pytestmark = pytest.mark.root

UPLOAD = "allow:\n  - home.test\n  - {host: other.test, step: publish}\n"
TO_BARE = f"allow:\n  - {{ip: 'tcp://{BARE}:80', step: publish}}\n"
CURL = ("curl", "-sS", "-m", "5", "https://other.test/")
TRY = f"""
import errno, socket, sys
try:
    socket.create_connection(("{BARE}", 80), 5).close()
except OSError as error:
    sys.exit(error.errno)
"""
EPERM = 1
CURLS_EPERM = 7
AGENT_LIVES_S = 1.5
"""Longer than the kernel believes in an agent that gives no sign."""


def test_only_the_publish_step_may_upload(lab: Lab) -> None:
    with job(lab, UPLOAD) as guarded:
        assert guarded.step("build", "curl", "-sS", "-m", "5", "https://home.test/").code == 0
        assert guarded.step("build", *CURL).code != 0
        assert lab.other.connections == []
        assert guarded.step("publish", *CURL).code == 0
        assert guarded.step("build", *CURL).code != 0
    assert len(lab.other.connections) == 1
    denied = [flow for flow in guarded.report["flows"] if flow["applied"] == "deny"]
    assert {(flow["host"], flow["step"]) for flow in denied} == {("other.test", "build")}
    assert "disagree" not in str(guarded.report["coverage"]["notes"])


def test_an_address_that_two_hosts_share(lab: Lab) -> None:
    """What a stream shows is held to who it is, as its address was."""
    lab.serve("everybodys.test", ["203.0.113.77"])
    shared = lab.serve("publishs.test", ["203.0.113.78"])
    lab.dns.zone["everybodys.test"] = ["203.0.113.78"]
    policy = "allow:\n  - everybodys.test\n  - {host: publishs.test, step: publish}\n"
    ask = ("curl", "-sSk", "-m", "5", "--resolve", "publishs.test:443:203.0.113.78")
    with job(lab, policy) as guarded:
        assert guarded.step("build", "curl", "-sSk", "https://everybodys.test/").code == 0
        assert guarded.step("build", *ask, "https://publishs.test/build").code != 0
        assert guarded.step("publish", *ask[:-2], "https://publishs.test/publish").code == 0
        assert guarded.step("build", *ask, "https://publishs.test/build").code != 0
    assert shared.received(b"/publish") and not shared.received(b"/build")


SERVICE = f"""
import os, socket, sys, time
go, done = sys.argv[1:3]
while not os.path.exists(go):
    time.sleep(0.01)
query = bytes.fromhex("000101000001000000000000") + b"\\x05other\\x04test\\0" + bytes((0, 1, 0, 1))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect(("{RESOLVER}", 53))
    try:
        sock.send(query)
        told = sock.recv(512)[3] & 15
    except OSError as error:
        told = type(error).__name__
open(done + "~", "w").write(str(told))
os.rename(done + "~", done)
if len(sys.argv) == 3:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[0], go, done + "2", "last"])
"""


def test_a_resolver_of_the_machine_asks_for_whoever_has_asked_it(lab: Lab) -> None:
    """It was there before the guard; what it becomes later may be the job's, and is."""
    go, done, later = (lab.directory / name for name in ("go", "done", "done2"))
    program = SERVICE.replace("sys.argv[0], go", "PROGRAM, go")
    command = [sys.executable, "-c", f"PROGRAM = {program!r}\nexec(PROGRAM)", go, done]
    with job(lab, UPLOAD, service=command) as guarded:
        go.touch()
        wait_for(later.exists)
    assert (done.read_text(), later.read_text()) == ("0", "3"), "an answer, and no such name"
    assert "disagree" not in str(guarded.report["coverage"]["notes"])


STARTED = {
    "child": "subprocess.call(argv)",
    "session": "subprocess.call(['setsid', '-w', *argv])",
    "thread": "threads(lambda: subprocess.call(argv))",
    "exec": "os.execv(argv[0], argv)",
    "300 forks": "all(descend() for _ in range(300)) and os.execv(argv[0], argv)",
}
START = """
import os, subprocess, sys, threading
def threads(act):
    told = []
    one = threading.Thread(target=lambda: told.append(act()))
    one.start(), one.join()
    return told[0]
def descend():
    if os.fork():
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
    return True
argv = sys.argv[1:]
sys.exit({})
"""


def test_what_a_step_starts_is_the_steps(lab: Lab) -> None:
    with job(lab, TO_BARE) as guarded:
        for how, started in STARTED.items():
            for step, code in (("build", EPERM), ("publish", 0)):
                done = guarded.python(step, START.format(started), *python(TRY))
                assert done.code == code, (how, step, done.out)


def test_the_workers_of_io_uring_are_the_steps(lab: Lab) -> None:
    """They pass through no tracepoint of fork: a thread of the process, by its number."""
    program = f"""
import ctypes, socket, struct
from bypass.senders.rings import Ring, _CONNECT
ring, sock = Ring(polled=sys.argv[1] == "True", worker=sys.argv[1] == "False"), socket.socket()
name = ctypes.create_string_buffer(
    struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", 80, socket.inet_aton("{BARE}"))
)
ring.do(_CONNECT, sock.fileno(), ctypes.addressof(name), 0, 16)
"""
    with job(lab, TO_BARE) as guarded:
        for polled in (True, False):
            refused = guarded.python("build", program, polled)
            assert refused.code and "PermissionError" in refused.out
            assert guarded.python("publish", program, polled).code == 0


DAEMON = """
import os, sys, time
if os.fork() or os.setsid() == 0 or os.fork():
    os._exit(0)
for fd in range(3):
    os.close(fd)
def told(name):
    while not os.path.exists(name):
        time.sleep(0.01)
go, done = sys.argv[1:3]
told(go)
status = os.waitstatus_to_exitcode(os.spawnv(os.P_WAIT, sys.argv[3], sys.argv[3:]) << 8)
with open(done + "~", "w") as file:
    file.write(str(status))
os.rename(done + "~", done)
"""


@pytest.mark.parametrize(("second", "fifth"), [("build", "publish"), ("publish", "build")])
def test_a_daemon_of_step_2_that_talks_during_step_5_is_step_2s(
    lab: Lab, second: str, fifth: str
) -> None:
    """Its step is over, and so is its parent; another step may do what it may not, or cannot."""
    go, done = lab.directory / "go", lab.directory / "done"
    with job(lab, TO_BARE) as guarded:
        guarded.step("checkout", "true")
        assert guarded.python(second, DAEMON, go, done, *python(TRY)).code == 0
        guarded.step("third", "true")
        guarded.step("fourth", "true")
        last = guarded.begin(fifth, "sleep", "60")
        go.touch()
        wait_for(done.exists)
        assert last.code is None
    assert int(done.read_text()) == (0 if second == "publish" else EPERM)
    flows = [flow for flow in guarded.report["flows"] if flow["ip"] == BARE]
    assert [flow["step"] for flow in flows] == [second]


def test_datagrams(lab: Lab) -> None:
    lab.serve("", ["203.0.113.77"], udp=[9000], http=(), https=())
    policy = "allow:\n  - {ip: 'udp://203.0.113.77:9000', step: publish}\n"
    program = """
import socket, sys
sock, peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("203.0.113.77", 9000)
try:
    if sys.argv[1] == "True":
        sock.connect(peer)
        sock.send(b"hello")
    else:
        sock.sendto(b"hello", peer)
except OSError as error:
    sys.exit(error.errno)
"""
    with job(lab, policy) as guarded:
        for connected in (True, False):
            assert guarded.python("build", program, connected).code == EPERM
            assert guarded.python("publish", program, connected).code == 0


GIVE = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as door:
    door.bind(sys.argv[1]); door.listen()
    peer, _ = door.accept()
    socket.send_fds(peer, [b"!"], [sock.fileno()])
    peer.recv(1)
"""
TAKE = f"""
import os, socket, sys, time
door = socket.socket(socket.AF_UNIX)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
while door.connect_ex(sys.argv[1]):  # bound, and not listening yet
    time.sleep(0.01)
_, (fd, *_), *_ = socket.recv_fds(door, 1, 1)
sock = socket.socket(fileno=fd)
try:
    if sock.type == socket.SOCK_STREAM:
        sock.connect(("{BARE}", 80))
    else:
        sock.sendto(b"hello", ("{BARE}", 80))
except OSError as error:
    sys.exit(error.errno)
"""


def test_a_socket_that_is_handed_over_may_what_both_may(lab: Lab) -> None:
    rules = f"{TO_BARE}  - {{ip: 'udp://{BARE}:80', step: publish}}\n"
    pairs = (("build", "publish", EPERM), ("publish", "build", EPERM), ("publish", "publish", 0))
    with job(lab, rules) as guarded:
        for (maker, user, code), kind in itertools.product(pairs, ("1", "2")):
            place = lab.directory / f"{maker}-{user}-{kind}"
            giver = guarded.begin(maker, *python(GIVE, place, kind))
            assert guarded.python(user, TAKE, place).code == code, place.name
            guarded.end(giver)
    assert "disagree" not in str(guarded.report["coverage"]["notes"])


def test_a_step_cannot_call_itself_another(lab: Lab) -> None:
    """Its environment, its arguments and its name are its own to write; its tag is not."""
    forged = ["env", "GITHUB_ACTION=publish", "bash", "-c", 'exec -a publish "$@"', "publish"]
    with job(lab, TO_BARE) as guarded:
        assert guarded.step("build", *forged, *python(TRY)).code == EPERM
        assert guarded.step("publish", *python(TRY)).code == 0


@pytest.mark.timeout(300)
def test_10000_steps_that_connect_as_their_first_act_are_not_denied(
    lab: Lab, tmp_path: Path
) -> None:
    """The rule is in force before a step's first instruction; nobody listens at that port."""
    steps, program = 10_000, tmp_path / "hasty_worker"
    source = Path(__file__).with_name("hasty_worker.c")
    subprocess.run(["gcc", "-O2", "-static", "-o", program, source], check=True)
    policy = f"allow:\n  - {{ip: 'tcp://{OTHER[0]}:9', step: publish}}\n"
    worker = [program, OTHER[0], "9", str(steps), "64"]
    with job(lab, policy, worker=worker) as guarded:
        assert guarded.worker.stdin is not None and guarded.worker.stdout is not None
        print("!", end="", file=guarded.worker.stdin, flush=True)
        assert guarded.worker.stdout.readline() == f"{steps} 0 0\n"
    (flow,) = guarded.report["flows"]
    assert (flow["step"], flow["count"], flow["applied"]) == ("publish", steps, "allow")


def test_a_frozen_agent_keeps_no_step_waiting(lab: Lab) -> None:
    """And lets none do what it has no name for."""
    with job(lab, TO_BARE) as guarded:
        assert guarded.step("publish", *python(TRY)).code == 0
        supervisor = agent_of(guarded.run_dir)
        agents = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        frozen = [supervisor, *map(int, agents)]
        try:
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(AGENT_LIVES_S)
            assert guarded.step("publish", *python(TRY)).code == EPERM
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


PROGRAMS = "allow:\n  - {ip: 'tcp://%s:80', process: %s}\n"
WAYS = {
    "itself": ("{program} {url}", True),
    "link": ("ln -s {program} here; ./here {url}", True),
    "another name": ("exec -a other {program} {url}", True),
    "script": ("printf '#!{program} -q\\n' > s; chmod +x s; ./s {url}", True),
    "copy": ("cp {program} copy; ./copy {url}", False),
    "copy of the same name": ("mkdir d; cp {program} d/; d/{name} {url}", False),
    "loader": ("{loader} {program} {url}", False),
    "memory": ("{python} -c {memory} {program} {url}", False),
    "unlinked": ("cp {program} gone; exec 9<gone; rm gone; /proc/self/fd/9 {url}", False),
}
IN_MEMORY = """
import os, sys
fd = os.memfd_create("curl")
os.write(fd, open(sys.argv[1], "rb").read())
os.execv(f"/proc/self/fd/{fd}", ["curl", *sys.argv[2:]])
"""


def test_a_program_is_the_file_that_is_run(lab: Lab) -> None:
    program = _real("curl")
    words = {
        "program": program,
        "name": Path(program).name,
        "loader": _loader(),
        "python": _real("python3"),
        "memory": f"'{IN_MEMORY}'",
        "url": f"-sS -m 5 http://{BARE}/",
    }
    with job(lab, PROGRAMS % (BARE, program)) as guarded:
        for number, (way, (script, passes)) in enumerate(WAYS.items()):
            place = lab.directory / f"way-{number}"
            script = f"mkdir {place}; cd {place}; {script.format(**words)}"
            done = guarded.step("any", "bash", "-ec", script)
            assert (done.code == 0) == passes, (way, done.out)
    assert len(lab.collector.connections) == sum(passes for _, passes in WAYS.values())
    assert "disagree" not in str(guarded.report["coverage"]["notes"])


def test_a_bare_name_is_the_files_own(lab: Lab) -> None:
    words = {"program": _real("curl"), "url": f"-sS -m 5 http://{BARE}/"}
    copies = "mkdir d; cp {program} d/curl; d/curl {url} && cp {program} d/wget; ! d/wget {url}"
    with job(lab, PROGRAMS % (BARE, "curl")) as guarded:
        assert guarded.step("any", "bash", "-ec", copies.format(**words)).code == 0


def test_the_longest_path_that_a_policy_takes(lab: Lab) -> None:
    here = lab.directory.resolve()
    deep = here / ("d" * (PROGRAM_BYTES - len(f"{here}//up"))) / "up"
    named = here / ("n" * (PROGRAM_BYTES - len(f"{here}/")))
    longer = here / f"{named.name}n" / named.name
    assert len(str(deep)) == len(str(named)) == PROGRAM_BYTES
    for copy in (deep, named, longer):
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(_real("curl"), copy)
    with job(lab, PROGRAMS % (BARE, f"['{deep}', '{named.name}']")) as guarded:
        for copy, code in ((deep, 0), (named, 0), (longer, CURLS_EPERM)):
            assert guarded.step("any", str(copy), "-sS", f"http://{BARE}/").code == code, copy


def test_the_report_tells_a_program_without_a_file(lab: Lab) -> None:
    with job(lab, "") as guarded:
        program, url = _real("curl"), f"http://{BARE}/"
        guarded.python("build", IN_MEMORY, program, "-sS", url)
        script = f"cp {program} gone; exec 9<gone; rm gone; /proc/self/fd/9 -sS {url}"
        guarded.step("build", "bash", "-c", script)
    programs = {Path(flow["process"]["exe"]).name for flow in guarded.report["flows"]}
    assert programs == {"memfd:curl (deleted)", "gone (deleted)"}


def _real(program: str) -> str:
    for directory in ("/usr/bin", "/usr/local/bin", "/bin"):
        if (found := Path(directory, program)).exists():
            return str(found.resolve())
    raise LookupError(program)


def _loader() -> str:
    """The dynamic loader of programs as this one is."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/ld-" in line and line.split()[-1].startswith("/"):
            return str(Path(line.split()[-1]).resolve())
    raise LookupError("a loader")
