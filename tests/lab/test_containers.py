# SPDX-License-Identifier: MIT
"""Containers made by a real Docker: a job inside one, and services beside a job."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import Lab, cgroup, opened_late, tokens
from lab.docker import Docker
from lab.guard import AGENT, DENIED, FINDINGS, Guarded, guard
from lab.network import BARE
from lab.tokens import Token

pytestmark = [pytest.mark.docker, pytest.mark.root]

PORT = 5432
NETWORK = "github_network_0123456789abcdef"
"""Docker names the bridge after the network's id: ``br-`` and twelve digits."""
SERVER = f"""\
import socket
with socket.create_server(("", {PORT})) as server:
    while True:
        with server.accept()[0] as client:
            client.sendall(b"ready for queries")
"""
CLIENT = f"""\
import socket, sys
with socket.create_connection((sys.argv[1], {PORT}), 5) as server:
    print(server.recv(99).decode())
"""
REACHED = "ready for queries\n"
KILLED = 137
"""What Docker says of a program that SIGKILL ended."""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """One daemon for all of these tests, in a lab of its own."""
    with Lab() as lab, Docker(lab) as made:
        yield made


# -- a job in a container -------------------------------------------------------------------


def leakstop_inside(docker: Docker, tmp_path: Path, mode: str, *more: str) -> Guarded:
    """``leakstop run`` in a container, on a command that visits a host and leaves a mark."""
    visit = "curl -sS http://other.test/; touch /reports/ran; sleep 2"  # long enough for a look
    command = ["run", "--mode", mode, *more, "--report-dir", "/reports", "--", "sh", "-c", visit]
    done = docker.run(
        [sys.executable, "-m", "leakstop", *command], options=[f"--volume={tmp_path}:/reports"]
    )
    return Guarded(done.returncode, done.stdout, done.stderr, tmp_path)


def test_audit_in_a_container_watches_with_reduced_coverage(docker: Docker, tmp_path: Path) -> None:
    done = leakstop_inside(docker, tmp_path, "audit")
    assert (done.code, done.stdout) == (0, "ok\n"), done.stderr
    assert done.report["verdict"] == "pass"
    assert done.report["coverage"]["sensor"] == "portable"
    assert any("Reduced coverage" in note for note in done.report["coverage"]["notes"])
    assert "only partly watched" in done.stderr
    assert "Reduced coverage" in done.stderr
    (flow,) = done.report["flows"]
    assert (flow["host"], flow["port"], flow["applied"]) == ("other.test", 80, "allow")
    assert "sleep" in {Path(event["exe"]).name for event in done.events("exec")}


def test_block_in_a_container_is_4_and_nothing_runs(docker: Docker, tmp_path: Path) -> None:
    before = docker.lab.other.bytes_received
    done = leakstop_inside(docker, tmp_path, "block")
    assert done.code == 4
    assert "error: the machine's kernel is out of reach" in done.stderr
    assert "root lacks CAP_SYS_ADMIN here, as in a container without privileges" in done.stderr
    assert "run Leakstop on the host" in done.stderr
    assert "`mode: audit`" in done.stderr and "`on-unsupported: audit`" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert docker.lab.other.bytes_received == before


def test_block_in_a_container_that_accepts_less_only_watches(
    docker: Docker, tmp_path: Path
) -> None:
    done = leakstop_inside(docker, tmp_path, "block", "--on-unsupported", "audit")
    assert (done.code, done.stdout) == (0, "ok\n"), done.stderr
    assert done.report["mode"] == "audit"
    assert "Reduced coverage" in done.stderr
    assert "Nothing could have been stopped" in done.stderr


# -- services beside a job ------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """A container that listens, as ``services: postgres`` makes one."""

    lab: Lab
    network: str
    address: str

    @property
    def name(self) -> str:
        """What containers of its network call it: on Docker's own bridge there are no names."""
        return "postgres" if self.network == NETWORK else self.address


@pytest.fixture(scope="module", params=["bridge", NETWORK])
def service(docker: Docker, request: pytest.FixtureRequest) -> Iterator[Service]:
    """On Docker's own bridge, and on a network of the job's, as the runner makes one."""
    if request.param == NETWORK:
        docker.do("network", "create", NETWORK)
    options = ["--name=postgres", f"--network={request.param}", f"--publish={PORT}:{PORT}"]
    address = docker.start([sys.executable, "-c", SERVER], options=options)
    yield Service(docker.lab, request.param, address)
    docker.do("rm", "--force", "postgres")


@pytest.mark.parametrize("place", ["its address", "localhost", "203.0.113.2"])
def test_a_service_needs_no_rule_and_the_world_does(
    service: Service, place: str, tmp_path: Path
) -> None:
    """By the container's address, and by its port as published on this machine's addresses."""
    host = service.address if place == "its address" else place
    script = f'"$0" -c "$1" {host}; curl -sS -m 5 http://{BARE}/; exit 0'
    command = ["sh", "-c", script, sys.executable, CLIENT]
    done = guard(service.lab, command, mode="block", reports=tmp_path)
    assert done.stdout == REACHED, done.stderr
    assert done.code == DENIED
    assert [flow["ip"] for flow in done.report["flows"] if flow["applied"] == "deny"] == [BARE]
    connects = {event["ip"]: event["reason"] for event in done.events("connect")}
    assert {connects.pop(ip) for ip in list(connects) if ip != BARE} == {"local"}
    assert service.lab.collector.bytes_received == 0


def test_a_service_that_a_rule_names_is_denied(service: Service, tmp_path: Path) -> None:
    """Local is what nobody named; a deny rule is a deny rule."""
    policy = f"version: 1\nmode: block\ndeny: {service.address}\n"
    command = [sys.executable, "-c", CLIENT, service.address]
    done = guard(service.lab, command, policy=policy, reports=tmp_path)
    assert done.code == FINDINGS, "somebody decided so, in writing"
    assert "Operation not permitted" in done.stderr
    assert done.stdout == ""


# -- a machine that is guarded as a whole ---------------------------------------------------


def leakstop(
    lab: Lab, *arguments: str | Path, secret: Token | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(AGENT)} | ({secret.name: secret.value} if secret else {})
    return lab.run([sys.executable, "-m", "leakstop", *arguments], env=environment)


@pytest.fixture
def run_dir(docker: Docker) -> Iterator[Path]:
    """A guard over Docker's daemon and all containers, as the action's is over the machine."""
    policy, there = docker.lab.directory / "ci.yml", docker.lab.directory / "agent"
    policy.write_text("version: 1\nmode: block\nallow: home.test\n")
    guarding: list[str | Path] = ["--policy", policy, "--cgroup", docker.cgroup, "--run-dir", there]
    began = leakstop(docker.lab, "start", *guarding)
    assert began.returncode == 0, began.stderr
    yield there
    leakstop(docker.lab, "stop", "--run-dir", there)


def test_a_guarded_machine_guards_its_containers(
    docker: Docker, service: Service, run_dir: Path, tmp_path: Path
) -> None:
    """Also those on a network whose names Docker's own resolver looks up."""
    before = {host: host.bytes_received for host in (docker.lab.other, docker.lab.collector)}
    urls = ["https://home.test/", "https://other.test/", f"http://{BARE}/"]
    script = "".join(f"curl -sSk -m 5 {url}; " for url in urls)
    network = f"--network={service.network}"
    visits = docker.run(["sh", "-c", script], options=[network])
    assert visits.stdout == "ok\n"
    assert "Could not resolve host: other.test" in visits.stderr
    assert {host: host.bytes_received for host in before} == before

    client = [sys.executable, "-c", CLIENT]
    neighbour = docker.run([*client, service.name], options=[network])
    assert neighbour.stdout == REACHED, neighbour.stderr
    # The published port is served by a proxy beside the daemon, which is guarded, too.
    on_the_host = docker.lab.run(
        cgroup.command_in(docker.cgroup / "daemon", [*client, "localhost"])
    )
    assert on_the_host.stdout == REACHED, on_the_host.stderr

    ended = leakstop(docker.lab, "stop", "--run-dir", run_dir, "--report-dir", tmp_path / "out")
    assert ended.returncode == DENIED
    flows = json.loads((tmp_path / "out" / "report.json").read_text())["flows"]
    denied = {flow["host"] or flow["ip"] for flow in flows if flow["applied"] == "deny"}
    assert denied == {"other.test", BARE}


def test_a_secret_does_not_leave_a_container_with_a_tls_library_of_its_own(
    docker: Docker, tmp_path: Path
) -> None:
    lab, token = docker.lab, tokens.npm()
    own, there, out = lab.directory / "own", lab.directory / "agent", tmp_path / "out"
    own.mkdir()
    shutil.copy(opened_late.LIBSSL, own / "libtls.so")
    client = [opened_late.build(own / "client"), own / "libtls.so", "collector.test"]
    options = [f"--volume={own}:{own}:ro", f"--env=SECRET={token.value}"]

    bare = docker.run(client, options=options)
    assert bare.returncode == 0, bare.stderr
    assert lab.collector.bytes_of(token.value.encode()) == len(token.value)
    lab.collector.connections.clear()

    guarding: list[str | Path] = ["--cgroup", docker.cgroup, "--run-dir", there]
    began = leakstop(lab, "start", *guarding, "--secret", token.name, secret=token)
    assert began.returncode == 0, began.stderr
    try:
        assert docker.run(client, options=options).returncode == KILLED
    finally:
        ended = leakstop(lab, "stop", "--run-dir", there, "--report-dir", out)
    assert ended.returncode == FINDINGS
    assert lab.collector.bytes_of(token.value.encode()) == 0
    (finding,) = json.loads((out / "report.json").read_text())["findings"]
    assert finding["id"] == "secret-in-tls"
    assert finding["process"]["container"]
