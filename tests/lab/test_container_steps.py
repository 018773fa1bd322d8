# SPDX-License-Identifier: MIT
"""Scoped rules and reports for containers: the agent, a stand-in of the worker, real Docker."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab, engine_client
from lab.docker import Docker
from lab.guard import AGENT
from lab.worker import Outcome, Worker, script

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(180)]

NETWORK = "job-net"
URL = "http://other.test/"
POLICY = """\
version: 1
mode: block
allow:
  - {host: "http://other.test", step: "Publish*"}
  - {host: "http://home.test", container: "named-*"}
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """One daemon for all of these tests, in a lab of its own."""
    with Lab() as lab, Docker(lab) as made:
        made.do("network", "create", NETWORK)
        yield made


def shell(*words: str | Path) -> str:
    """A shell's command line."""
    return shlex.join(map(str, words))


@dataclass(frozen=True)
class Way:
    """Shell commands that visit ``URL`` from a container, given Docker and a name of one's own."""

    name: str
    commands: Callable[[Docker, str], str]


def _run(*options: str) -> Callable[[Docker, str], str]:
    def commands(docker: Docker, name: str) -> str:
        words = docker.command("run", "--rm", *options, *docker.volumes(), "empty")
        return shell(*words, *VISIT)

    return commands


def _named(docker: Docker, name: str) -> str:
    create = docker.command("create", "--name", name, *docker.volumes(), "empty")
    start = docker.command("start", "--attach", name)
    return f"{shell(*create, *VISIT)} && {shell(*start)}"


def _exec(docker: Docker, name: str) -> str:
    run = docker.command("run", "--detach", "--name", name, *docker.volumes(), "empty")
    inside = docker.command("exec", name)
    return f"{shell(*run, 'sleep', '60')} && {shell(*inside, *VISIT)}"


def _compose(docker: Docker, name: str) -> str:
    """One service that visits, and one that it waits for."""
    file = docker.lab.directory / f"{name}.json"
    kept = {"image": "empty", "volumes": binds(docker), "stop_grace_period": "0s"}
    visitor = {**kept, "command": VISIT, "depends_on": ["other"]}
    services = {"visitor": visitor, "other": {**kept, "command": ["sleep", "60"]}}
    file.write_text(json.dumps({"version": "3", "services": services}))
    compose = ["docker-compose", "--host", f"unix://{docker.socket}", "--file", file]
    up = ["up", "--no-log-prefix", "--exit-code-from", "visitor"]
    return shell(*compose, "--project-name", name, *up)


def binds(docker: Docker) -> list[str]:
    """Volumes with the machine's programs."""
    return [v.removeprefix("--volume=") for v in docker.volumes() if v.startswith("--volume=")]


PODMAN = """\
mount -t tmpfs podman /var/lib && cd /var/lib && mkdir net || exit
engine() {
	podman --root "$PWD/root" --runroot "$PWD/run" --tmpdir "$PWD/tmp" \\
		--network-config-dir "$PWD/net" --storage-driver vfs --cgroup-manager cgroupfs \\
		--events-backend none "$@"
}
engine import --quiet "$0" empty >&2
engine run --rm --pull=never --ulimit=nofile=1024:1024 --ulimit=nproc=1024:1024 "$@"
"""
"""Nothing of it is kept. Its limits are by default those of a root who may raise them."""


def _podman(docker: Docker, name: str) -> str:
    """An engine without a daemon: the container is a child of the step's."""
    run = ["unshare", "--mount", "sh", "-c", PODMAN, docker.image]
    run += [f"--cgroup-parent=/{docker.cgroup.name}", *docker.volumes()]
    return shell(*run, "empty", *VISIT)


def _build(kit: int) -> Callable[[Docker, str], str]:
    def commands(docker: Docker, name: str) -> str:
        context = docker.lab.directory / name
        for path in _files_of("/usr/bin/bash"):
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f"/{path}", context / path)
        run = json.dumps(["/usr/bin/bash", "-c", BARE_VISIT])
        (context / "Dockerfile").write_text(f"FROM empty\nCOPY usr /usr\nRUN {run}\n")
        build = docker.command("build", "--no-cache", context)
        return f"DOCKER_BUILDKIT={kit} {shell(*build)} && echo ok"

    return commands


def _files_of(program: str) -> Iterator[str]:
    """A program and its libraries, below /usr, where links of the image lead."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in (program, *re.findall(r"/\S+", listed)):
        yield path.removeprefix("/") if path.startswith("/usr/") else f"usr{path}"


BARE_VISIT = """\
exec 3<>/dev/tcp/other.test/80 && printf 'GET / HTTP/1.0\\r\\nHost: other.test\\r\\n\\r\\n' >&3
while read -r line <&3 || [ "$line" ]; do [ "$line" = ok ] && exit; done; exit 1"""
VISIT = ("curl", "-sS", "-m", "5", URL)
WAYS = (
    Way("run", _run()),
    Way("network", _run(f"--network={NETWORK}")),
    Way("host", _run("--network=host")),
    Way("start", _named),
    Way("exec", _exec),
    Way("compose", _compose),
    Way("podman", _podman),
    Way("build", _build(0)),
    Way("buildkit", _build(1)),
)


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that a job does."""
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, "the job takes too long"
        time.sleep(0.05)


class Guarded:
    """A machine's job under the agent, which is there before the first step."""

    def __init__(self, docker: Docker, reports: Path) -> None:
        self.docker, self._lab = docker, docker.lab
        self._reports = reports
        self.ended = subprocess.CompletedProcess[str]([], 0)

    def run(self, *steps: dict[str, Any], policy: str = POLICY) -> Outcome:
        """Run the job, to its end."""
        lab = self._lab
        go, over, there = (self._reports / name for name in ("go", "over", "agent"))
        rules = lab.directory / f"{self._reports.name}.yml"
        rules.write_text(policy)
        group = self.docker.cgroup / "runner"
        group.mkdir(exist_ok=True)
        # The agent is asked for its report before it ends by itself, with the worker.
        before = script(f"until [ -e '{go}' ]; do sleep 0.05; done", "Wait")
        after = script(f"touch '{over}'; while [ -e '{go}' ]; do sleep 0.05; done", "Stay")
        job = Worker(self._reports, popen=self._popen).start([before, *steps, after], group=group)
        # As the action does it, with the second line on the way out of the machine.
        prepared = self._leakstop("prepare", "--policy", rules)
        assert prepared.returncode == 0, prepared.stderr
        document = json.loads(prepared.stdout)
        settings = {"cgroup": str(self.docker.cgroup), "worker_pid": job.pid}
        document["settings"] = {"scope": "machine", **settings}
        start = ["start", "--prepared", "-", "--run-dir", there]
        began = self._leakstop(*start, stdin=json.dumps(document))
        try:
            assert began.returncode == 0, began.stderr
            go.touch()
            until(over.exists)
        finally:
            out = self._reports / "out"
            self.ended = self._leakstop("stop", "--run-dir", there, "--report-dir", out)
            go.unlink(missing_ok=True)
            done = job.wait()
        return done

    @property
    def report(self) -> dict[str, Any]:
        """``report.json``."""
        path = self._reports / "out/report.json"
        assert path.exists(), self.ended.stderr
        report: dict[str, Any] = json.loads(path.read_text())
        return report

    def applied(self, step: str) -> set[str]:
        """What was done with what the step's containers wanted of ``URL``'s host."""
        return {
            flow["applied"]
            for flow in self.report["flows"]
            if flow["step"] == step and flow["host"] == "other.test"
        }

    def _leakstop(
        self, *arguments: str | Path, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "leakstop", *arguments]
        return self._lab.run(command, env={"PYTHONPATH": str(AGENT)}, stdin=stdin)

    def _popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        options.pop("text", None)
        return self._lab.popen(command, **options)


@dataclass(frozen=True)
class Ended:
    """One job that went all ways, and what was said of it."""

    outcome: Outcome
    guarded: Guarded

    def output(self, step: str) -> str:
        """What a step printed."""
        return str(self.outcome.of(step)["output"])


@pytest.fixture(scope="module")
def ended(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Each way is gone by a step that may visit the host and by one that may not."""
    job = Guarded(docker, tmp_path_factory.mktemp("ways"))
    steps = []
    for way, kind in itertools.product(WAYS, ("Publish", "Build")):
        commands = way.commands(docker, f"{kind}-{way.name}".lower())
        steps.append(script(f"{commands} || :", f"{kind} {way.name}"))
    outcome = job.run(*steps)
    docker.remove_all()
    return Ended(outcome, job)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_container_has_the_rights_of_its_step(ended: Ended, way: Way) -> None:
    """And is the step's in the report."""
    assert "ok" in ended.output(f"Publish {way.name}").splitlines(), ended.guarded.ended.stderr
    assert ended.guarded.applied(f"Publish {way.name}") == {"allow"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_and_not_those_of_another(ended: Ended, way: Way) -> None:
    assert "ok" not in ended.output(f"Build {way.name}").splitlines()
    assert ended.guarded.applied(f"Build {way.name}") == {"deny"}


def test_the_report_names_containers(ended: Ended) -> None:
    named = {flow["process"]["container"] for flow in ended.guarded.report["flows"]}
    assert {"publish-start (empty)", "build-exec (empty)"} <= named
    assert ended.guarded.report["coverage"]["lost_events"] == 0


# -- what else containers are ---------------------------------------------------------------


@pytest.fixture
def job(docker: Docker, tmp_path: Path) -> Iterator[Guarded]:
    """A job of its own, and no container afterwards."""
    yield Guarded(docker, tmp_path)
    docker.remove_all()


def test_what_a_step_leaves_behind_stays_that_steps(job: Guarded) -> None:
    """A container of an earlier step, that gets to work while one runs that has the right."""
    docker = job.docker
    waits = f"until [ -e /shared/go ]; do sleep 0.05; done; {shell(*VISIT)}; touch /shared/done"
    shared = docker.lab.directory / "shared"
    shared.mkdir()
    run = docker.command("run", "--detach", f"--volume={shared}:/shared", *docker.volumes())
    leaves = shell(*run, "empty", "sh", "-c", waits)
    wait = f"touch {shared}/go; until [ -e {shared}/done ]; do sleep 0.05; done"
    outcome = job.run(script(leaves, "Build"), script(wait, "Publish now"))
    assert outcome.result == "success"
    assert job.applied("Build") == {"deny"}
    assert job.applied("Publish now") == set()


def test_who_goes_into_the_container_of_another_step_stays_his_own(job: Guarded) -> None:
    """Root moves himself there, and no engine is asked: neither its rights nor its name are his."""
    docker = job.docker
    run = docker.command("run", "--detach", "--name=taken", *docker.volumes(), "empty")
    identity = docker.command("inspect", "--format", "{{.Id}}", "taken")
    moves = f"echo $$ > {docker.cgroup}/$({shell(*identity)})/cgroup.procs; {shell(*VISIT)} || :"
    outcome = job.run(script(shell(*run, "sleep", "60"), "Publish"), script(moves, "Build"))
    assert "ok" not in outcome.of("Build")["output"].splitlines()
    assert (job.applied("Build"), job.applied("Publish")) == ({"deny"}, set())


def test_a_container_that_is_asked_for_unseen_has_the_rights_of_nobody(job: Guarded) -> None:
    """Its step could have asked in the open."""
    docker = job.docker
    made = docker.command("create", "--name=hidden", *docker.volumes(), "empty", *VISIT)
    path = "/containers/hidden/start"
    ask = [sys.executable, engine_client.__file__, docker.socket, "io_uring", path, ""]
    logs = f"{shell(*docker.command('wait', 'hidden'))}; {shell(*docker.command('logs', 'hidden'))}"
    outcome = job.run(script(f"{shell(*made)}; {shell(*ask)}; {logs}", "Publish"))
    assert outcome.result == "success", outcome.of("Publish")
    assert "ok" not in outcome.of("Publish")["output"].splitlines()
    assert (job.applied("Publish"), job.applied("")) == (set(), {"deny"})


def test_a_container_that_two_steps_share_has_the_rights_of_neither(job: Guarded) -> None:
    docker = job.docker
    run = docker.command("run", "--detach", "--name=shared", *docker.volumes(), "empty")
    inside = shell(*docker.command("exec", "shared"), *VISIT)
    build = script(f"{shell(*run, 'sleep', '60')}; {inside} || :", "Build")
    publish = script(f"{inside} || :", "Publish")
    outcome = job.run(build, publish)
    assert "ok" not in outcome.of("Publish")["output"].splitlines()
    assert "" in {flow["step"] for flow in job.report["flows"] if flow["applied"] == "deny"}


def test_a_rule_for_a_container_is_for_that_one(job: Guarded) -> None:
    """By its name, from its first question on: the container waits until it is known."""
    visit = ["curl", "-sS", "-m", "5", "http://home.test/"]

    def run(name: str) -> str:
        words = job.docker.command("run", "--rm", f"--name={name}", *job.docker.volumes())
        return f"{shell(*words, 'empty', *visit)} || :"

    outcome = job.run(script(run("named-one"), "Good"), script(run("other-one"), "Bad"))
    assert "ok" in outcome.of("Good")["output"].splitlines(), job.ended.stderr
    assert "ok" not in outcome.of("Bad")["output"].splitlines()


POWERS = {
    "privileged": (["--privileged"], "medium"),
    "the host's processes": (["--pid=host"], "medium"),
    "the host's network": (["--network=host"], "medium"),
    "CAP_SYS_ADMIN": (["--cap-add=SYS_ADMIN"], "medium"),
    "the host's /": (["--volume=/:/host:ro"], "high"),
    "the host's /proc": (["--volume=/proc:/host:ro"], "high"),
}


def test_a_powerful_container_is_a_finding_whoever_asks(job: Guarded) -> None:
    """Docker's client here; the request is not what counts, but what the engine made of it."""
    steps = []
    for power, (options, _) in POWERS.items():
        words = job.docker.command("run", "--rm", *options, *job.docker.volumes(), "empty", "true")
        # Not every machine may give away all that is asked for: asking is enough.
        steps.append(script(f"{shell(*words)} || :", power))
    plain = job.docker.command("run", "--rm", *job.docker.volumes(), "empty", "true")
    outcome = job.run(*steps, script(shell(*plain), "Plain"))
    assert outcome.result == "success", outcome.records
    found = {
        finding["step"]: (finding["severity"], Path(finding["process"]["exe"]).name)
        for finding in job.report["findings"]
        if finding["id"] == "powerful-container"
    }
    assert found == {power: (severity, "docker") for power, (_, severity) in POWERS.items()}
