# SPDX-License-Identifier: MIT
"""Whose a container is: of the step that asked for it, or nobody's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, engine_client
from lab.claims import Claims, Step
from lab.clones import Clone
from lab.docker import Docker
from leakstop.model.process import Tag

pytestmark = [pytest.mark.docker, pytest.mark.root]

SLEEPS = ("sleep", "60")
NOBODYS = Tag.UNKNOWN.value


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """One daemon for all of these tests, in a lab of its own."""
    with Lab() as lab, Docker(lab) as made:
        yield made


@pytest.fixture
def claims(docker: Docker) -> Iterator[Claims]:
    """Watched from here on."""
    with Claims(docker) as watching:
        yield watching
    docker.remove_all()


def ask(step: Step, path: str, body: object = None, *, how: str = "send") -> str:
    """Ask the engine as ``step``, without Docker's client."""
    text = "" if body is None else json.dumps(body)
    engine = step.claims.docker.socket
    return step.run([sys.executable, engine_client.__file__, engine, how, path, text])


def sleeper(step: Step, *options: str) -> str:
    """Start a container as ``step``; return its id."""
    docker = step.claims.docker
    return step.docker("run", "--detach", *options, *docker.volumes(), "empty", *SLEEPS)


# -- who asks, has it -----------------------------------------------------------------------


def test_docker_run_is_the_steps(claims: Claims) -> None:
    """Two at once, too."""
    first, second = claims.step(), claims.step()
    run = claims.docker.command("run", "--rm", *claims.docker.volumes(), "empty", "true")
    both = [first.start(run), second.start(run)]
    for process in both:
        assert process.wait(30) == 0, process.communicate()[1]
    assert sorted(claims.news(2)) == [(first.tag, True), (second.tag, True)]


@pytest.mark.parametrize("how", engine_client.SEEN)
def test_so_is_what_any_client_starts(claims: Claims, how: str) -> None:
    step = claims.step()
    mounts = [volume for volume in claims.docker.volumes() if volume.startswith("--volume")]
    body = {
        "Image": "empty",
        "Cmd": SLEEPS,
        "HostConfig": {"Binds": [mount.partition("=")[2] for mount in mounts]},
    }
    made = json.loads(ask(step, "/containers/create", body, how=how))["Id"]
    ask(step, f"/v1.41/containers/{made}/start", how=how)
    assert claims.news() == [(step.tag, True)]


def test_what_the_runner_starts_is_the_jobs(claims: Claims) -> None:
    """It starts images of the job's choice; its own rights are for its own programs."""
    sleeper(claims.step(Tag.RUNNER))
    assert claims.news() == [(Tag.JOB, True)]


def test_all_that_runs_inside_is_the_steps(claims: Claims) -> None:
    step = claims.step()
    run = ["run", "--rm", *claims.docker.volumes(), "empty", "sh", "-c", "(sleep 0.2; :) & wait"]
    step.docker(*run)
    claims.news()
    assert len(claims.inherited) >= 2
    assert set(claims.inherited) == {step.tag}


def test_a_restarted_container_stays_the_steps(claims: Claims) -> None:
    """The daemon does that by itself, so nobody asks."""
    step = claims.step()
    docker = claims.docker
    step.docker(
        *("run", "--detach", "--restart=always", *docker.volumes(), "empty"),
        *("sh", "-c", "sleep 0.3"),
    )
    assert claims.news(3)[:3] == [(step.tag, True)] * 3


# -- exec -----------------------------------------------------------------------------------


def test_docker_exec_by_the_same_step_is_the_steps(claims: Claims) -> None:
    step = claims.step()
    container = sleeper(step)
    step.docker("exec", container, "true")
    assert claims.news(2) == [(step.tag, True), (step.tag, False)]


def test_a_container_that_two_steps_share_is_nobodys(claims: Claims) -> None:
    """From then on: neither may use the other's rights in it."""
    first, second = claims.step(), claims.step()
    container = sleeper(first)
    second.docker("exec", container, "true")
    first.docker("exec", container, "true")
    assert claims.news(3) == [(first.tag, True), (NOBODYS, False), (NOBODYS, False)]


def test_two_that_start_the_same_have_nothing(claims: Claims) -> None:
    first, second = claims.step(), claims.step()
    container = sleeper(first)
    second.docker("restart", "--time=0", container)
    assert claims.news(2) == [(first.tag, True), (NOBODYS, True)]


@pytest.mark.parametrize("how", engine_client.HIDDEN)
def test_who_hides_his_request_starts_what_is_nobodys(claims: Claims, how: str) -> None:
    """Whoever made the container."""
    step, thief = claims.step(), claims.step()
    for maker in (step, thief):
        made = maker.docker("create", *claims.docker.volumes(), "empty", *SLEEPS)
        ask(thief, f"/containers/{made}/start", how=how)
        assert claims.news() == [(NOBODYS, True)]


@pytest.mark.parametrize("how", engine_client.HIDDEN)
def test_and_opens_nobody_elses_container(claims: Claims, how: str) -> None:
    step, thief = claims.step(), claims.step()
    container = sleeper(step)
    body = {"Cmd": ["true"]}
    made = json.loads(ask(thief, f"/containers/{container}/exec", body, how=how))["Id"]
    ask(thief, f"/exec/{made}/start", {"Detach": True}, how=how)
    assert claims.news(2) == [(step.tag, True), (NOBODYS, False)]


# -- clone3 ---------------------------------------------------------------------------------


def test_who_is_born_in_the_container_of_another_step_stays_his_own(
    claims: Claims, tmp_path: Path
) -> None:
    step, other = claims.step(), claims.step()
    inside = claims.docker.cgroup / sleeper(step)
    other.run(Clone(tmp_path).into(inside, "true"))
    assert claims.news(2) == [(step.tag, True), (other.tag, False)]


@pytest.mark.parametrize("asked", [True, False])
def test_what_an_engine_gives_birth_to_there_is_the_askers(
    claims: Claims, tmp_path: Path, asked: bool
) -> None:
    """As newer ones do it: its first process was never outside."""
    step, engine = claims.step(), claims.step(Tag.ENGINE)
    container = os.urandom(32).hex()
    if asked:
        url = f"http://engine.test/containers/{container}/start"
        step.run(["curl", "-sS", "--unix-socket", claims.docker.socket, "-X", "POST", url])
    inside = claims.docker.cgroup / container
    inside.mkdir()
    try:
        engine.run(Clone(tmp_path).into(inside, "true"))
    finally:
        inside.rmdir()
    assert claims.news() == [(step.tag if asked else NOBODYS, True)]


# -- names ----------------------------------------------------------------------------------


def test_a_name_that_the_kernel_knows_is_as_good_as_the_id(claims: Claims) -> None:
    step = claims.step()
    create = ["create", "--name=service", *claims.docker.volumes(), "empty", *SLEEPS]
    container = step.docker(*create)
    claims.call("service", int(container[:16], 16))
    claims.call(container[:12], int(container[:16], 16))
    step.docker("start", "service")
    step.docker("exec", container[:12], "true")
    assert claims.news(2) == [(step.tag, True), (step.tag, False)]


def test_of_a_name_that_it_does_not_know_the_agent_is_told(claims: Claims) -> None:
    step = claims.step()
    step.docker("create", "--name=service", *claims.docker.volumes(), "empty", *SLEEPS)
    step.docker("start", "service")
    assert claims.news() == [(NOBODYS, True)]
    (told,) = claims.named
    assert told.path[: told.len].endswith(b"/containers/service/start")
    assert (told.tag, told.enters) == (step.tag, 0)


# -- build ----------------------------------------------------------------------------------


BUILD = 'FROM empty\nCOPY usr /usr\nRUN ["/usr/busybox", "sleep", "3"]\n'


def context_of(claims: Claims, name: str) -> Path:
    """What an image is built from."""
    context = claims.docker.lab.directory / name
    (context / "usr").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", context / "usr/busybox")
    (context / "Dockerfile").write_text(f"{BUILD}ENV name={name}\n")
    return context


def builds(claims: Claims, step: Step, name: str, **env: str) -> subprocess.Popen[str]:
    """Start to build an image as ``step``."""
    context = context_of(claims, name)
    return step.start(claims.docker.command("build", "--no-cache", context), env=env)


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_what_a_build_runs_is_the_steps(claims: Claims, buildkit: str) -> None:
    step = claims.step()
    build = builds(claims, step, f"alone-{buildkit}", DOCKER_BUILDKIT=buildkit)
    out, err = build.communicate(timeout=60)
    assert build.returncode == 0, out + err
    assert claims.news() == [(step.tag, True)]


def test_what_compose_starts_is_the_steps(claims: Claims) -> None:
    """Its services, what it runs in them, and what building one runs; it asks by ids."""
    step, docker = claims.step(), claims.docker
    binds = [v.removeprefix("--volume=") for v in docker.volumes() if v.startswith("--volume=")]
    service = {"image": "empty", "volumes": binds, "command": SLEEPS, "stop_grace_period": "0s"}
    services = {"one": service, "built": {"build": str(context_of(claims, "composed"))}}
    file = docker.lab.directory / "compose.json"
    file.write_text(json.dumps({"version": "3", "services": services}))
    compose = ["docker-compose", "--host", f"unix://{docker.socket}", "--file", file]
    compose += ["--project-name", "claimed"]
    for does, enters in {
        "up --detach one": False,
        "exec -T one true": True,
        "run --rm one true": False,
        "restart --timeout 0 one": False,
        "build --no-cache built": False,
    }.items():
        # Its own client: Docker's would want a plugin of Docker's for BuildKit.
        step.run([*compose, *does.split()], env={"COMPOSE_DOCKER_CLI_BUILD": "0"})
        assert claims.news() == [(step.tag, not enters)], does
    assert claims.named == []


def test_what_two_steps_build_at_once_is_nobodys(claims: Claims) -> None:
    first, second = claims.step(), claims.step()
    both = [builds(claims, first, "first"), builds(claims, second, "second")]
    for build in both:
        out, err = build.communicate(timeout=60)
        assert build.returncode == 0, out + err
    assert NOBODYS in {tag for tag, _ in claims.news(2)}


def test_what_is_started_in_secret_during_a_build_is_nobodys(claims: Claims) -> None:
    step, thief = claims.step(), claims.step()
    made = thief.docker("create", *claims.docker.volumes(), "empty", *SLEEPS)
    build = builds(claims, step, "watched", DOCKER_BUILDKIT="1")
    assert claims.news() == [(step.tag, True)]
    ask(thief, f"/containers/{made}/start", how="pieces")
    assert claims.news() == [(NOBODYS, True)]
    build.communicate(timeout=60)
