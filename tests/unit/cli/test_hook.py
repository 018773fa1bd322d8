# SPDX-License-Identifier: MIT
"""The phases of the action, one at a time, without an agent."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import tokens
from leakstop.cli import canaries, dependencies, elevate, epilogue, hook, prepare, settings
from leakstop.cli.confined import Identity
from leakstop.cli.elevate import Place
from leakstop.cli.kept import Kept
from leakstop.cli.runner import Runner, Worker
from leakstop.cli.vocabulary import Asking
from leakstop.daemon import client as daemon
from leakstop.daemon import fold
from leakstop.daemon.client import AgentClient
from leakstop.daemon.lifecycle import RunDir
from leakstop.daemon.request import ArmRequest
from leakstop.errors import CoverageError, ExitCode, LeakstopError, UnsupportedError
from leakstop.model.report import CANARY, Report
from leakstop.model.verdict import Mode
from leakstop.policy.canonical import from_canonical
from leakstop.policy.rules import Policy
from leakstop.report.vocabulary import Vocabulary, to_text
from story import PASSED, REFUSED, answers, connects, execs, guarded

WORKER = Worker(4242, "Runner.Worker", Path("/home/runner"), "")


class Machine:
    """Stands for root, the agent and the runner's files."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.environ: dict[str, str] = {"RUNNER_TEMP": str(directory)}
        for name in ("GITHUB_STATE", "GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY"):
            (directory / name).touch()
            self.environ[name] = str(directory / name)
        self.started: list[ArmRequest] = []
        self.armed: list[tuple[ArmRequest, str]] = []
        self.cleaned: list[bool] = []
        self.taught: list[tuple[str, str]] = []
        self.teach_failure: LeakstopError | None = None
        self.asked: list[Policy] = []
        self.words = to_text(Vocabulary(indexes={"registry:pip": ("https://index.test:443",)}))
        self.alive = False
        self.whom = "70 700"
        self.start_failure: LeakstopError | None = None
        self.report: Report | LeakstopError = CoverageError("nothing there")
        self._patch = monkeypatch
        self._install()

    def _install(self) -> None:
        patch = self._patch.setattr
        place = Place(self.directory / "run", self.directory / "code")
        patch(Worker, "of_this_step", lambda: WORKER)
        patch(elevate, "prepare_place", lambda: place)
        patch(elevate, "start_agent", self._start)
        patch(elevate, "clean_up", lambda _, sweep: self.cleaned.append(sweep))
        patch(RunDir, "alive", lambda _: self.alive)
        patch(AgentClient, "connect", self._connect)
        patch(Asking, "about", self._ask)
        patch(daemon, "words", lambda _: self.words)
        patch(daemon, "last_word", self._last_word)
        patch(daemon, "left", lambda _: self._left())

    def _ask(self, policy: Policy) -> Any:
        self.asked.append(policy)
        nothing = lambda: None  # noqa: E731
        return SimpleNamespace(release=nothing, answer=lambda: self.words, close=nothing)

    def _start(self, _: Place, request: ArmRequest) -> None:
        if self.start_failure:
            raise self.start_failure
        self.started.append(request)
        self.alive = True

    def _connect(self, _: Path, *, whom: str = "") -> Machine:
        if whom:  # a guard is in force, whose agent is known
            assert whom == self.state["agent"]
        return self

    def _last_word(self, _: Path, *, key: str, whom: str) -> Report | None:
        assert key == self.state["key"]
        assert whom == self.state["agent"]
        return self._left() if self.alive else None

    def _left(self) -> Report:
        if isinstance(self.report, LeakstopError):
            raise self.report
        return self.report

    # -- the agent's client -----------------------------------------------------------------

    def arm(self, request: ArmRequest, *, key: str) -> None:
        self.armed.append((request, key))

    def teach(self, words: str, *, key: str) -> None:
        if self.teach_failure:
            raise self.teach_failure
        self.taught.append((words, key))

    def status(self) -> dict[str, str]:
        last = self.armed[-1][0] if self.armed else self.started[-1]
        policy = from_canonical(last.policy)
        return {"mode": policy.mode.value, "digest": policy.digest, "note": ""}

    def close(self) -> None:
        pass

    # -- the runner -------------------------------------------------------------------------

    def inputs(self, **inputs: str) -> None:
        """Set the inputs of the step."""
        for name, value in inputs.items():
            self.environ[f"INPUT_{name.upper().replace('_', '-')}"] = value

    def forget_inputs(self) -> None:
        """As the runner does where a step is told its caller's inputs."""
        self.environ = {k: v for k, v in self.environ.items() if not k.startswith("INPUT_")}

    def run(self, phase: str) -> int:
        """Run a phase as the runner does, with the state of the phases before."""
        states = {f"STATE_{name}": value for name, value in self.state.items()}
        for name, value in {**self.environ, **states}.items():
            self._patch.setenv(name, value)
        return hook.run(argparse.Namespace(phase=phase))

    @property
    def state(self) -> dict[str, str]:
        return self._read("GITHUB_STATE")

    @property
    def outputs(self) -> dict[str, str]:
        return self._read("GITHUB_OUTPUT")

    @property
    def summary(self) -> str:
        return Path(self.environ["GITHUB_STEP_SUMMARY"]).read_text()

    def _read(self, variable: str) -> dict[str, str]:
        """Read a file of the runner as the runner reads it."""
        found: dict[str, str] = {}
        lines = iter(Path(self.environ[variable]).read_text().splitlines())
        for line in lines:
            name, _, end = line.partition("<<")
            found[name] = "\n".join(iter(lambda end=end: next(lines), end))  # type: ignore[misc]
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """What was printed since it was last asked."""

    def read() -> str:
        return capsys.readouterr().out

    return read  # type: ignore[return-value]


def policy_of(request: ArmRequest) -> Any:
    return from_canonical(request.policy)


# -- pre and main ---------------------------------------------------------------------------


def test_pre_starts_what_the_step_asks_for(machine: Machine) -> None:
    token = tokens.npm()
    machine.inputs(mode="block", secrets=f"NPM_TOKEN={token.value}")
    machine.environ |= {"GITHUB_JOB": "build", "GITHUB_RUN_ID": "7"}
    assert machine.run("pre") == 0
    (request,) = machine.started
    assert policy_of(request).mode is Mode.BLOCK
    assert [secret.name for secret in request.secrets] == ["NPM_TOKEN"]
    assert (request.scope, request.worker_pid) == ("machine", WORKER.pid)
    assert (request.job.name, request.job.run_id) == ("build", "7")
    assert request.finish_key == machine.state["key"] != ""
    assert token.value not in str(machine.state)


def test_the_key_is_masked_before_it_is_kept(machine: Machine, said: Any) -> None:
    machine.run("pre")
    assert f"::add-mask::{machine.state['key']}\n" in said()


def test_main_leaves_alone_what_pre_has_started(machine: Machine, said: Any) -> None:
    machine.inputs(mode="block")
    machine.run("pre")
    said()
    assert machine.run("main") == 0
    assert (len(machine.started), machine.armed) == (1, [])
    state, known, report = said().splitlines()
    assert state.startswith("leakstop: Protected (block mode)")
    assert known == "leakstop: Secrets watched: none known."
    assert "at the end of the job" in report


def test_pre_observes_and_holds_where_it_is_told_no_inputs(machine: Machine) -> None:
    machine.run("pre")
    assert policy_of(machine.started[0]).mode is Mode.AUDIT
    machine.inputs(mode="block", policy="version: 1\nallow: home.test\n")
    assert machine.run("main") == 0
    assert len(machine.started) == 1, "the same agent"
    ((request, key),) = machine.armed
    assert policy_of(request).mode is Mode.BLOCK
    assert key == request.finish_key == machine.state["key"]


def test_the_words_are_asked_when_the_agent_starts_and_not_again(machine: Machine) -> None:
    """By the time of ``main`` other steps have run, and may have changed what they mean."""
    machine.run("pre")
    assert machine.taught == [(machine.words, machine.state["key"])]
    machine.inputs(mode="audit", allow="home.test")
    assert machine.run("main") == 0
    assert len(machine.armed) == 1
    assert (len(machine.asked), len(machine.taught)) == (1, 1)


def test_an_agent_that_learns_no_words_guards_all_the_same(machine: Machine) -> None:
    machine.teach_failure = CoverageError("the agent does not answer")
    machine.run("pre")
    assert machine.state["run"]


def test_pre_observes_and_holds_where_something_is_wrong(machine: Machine, said: Any) -> None:
    """Inside of somebody else's action it may be told that action's inputs."""
    machine.inputs(mode="strict")
    assert machine.run("pre") == 0
    assert policy_of(machine.started[0]).mode is Mode.AUDIT
    assert "::error" not in said()
    machine.inputs(mode="block")
    assert machine.run("main") == 0
    assert policy_of(machine.armed[0][0]).mode is Mode.BLOCK


@pytest.mark.parametrize("failed", [False, True])
def test_main_starts_the_agent_where_pre_did_not(machine: Machine, failed: bool) -> None:
    machine.inputs(mode="block")
    if failed:
        machine.start_failure = UnsupportedError("not yet")
        assert machine.run("pre") == 0
        assert machine.state == {}
        machine.start_failure = None
    assert machine.run("main") == 0
    assert policy_of(machine.started[0]).mode is Mode.BLOCK
    assert machine.state["run"] and machine.state["code"] and machine.state["python"]


def test_main_starts_another_agent_where_the_first_one_died(machine: Machine) -> None:
    machine.run("pre")
    machine.alive = False
    assert machine.run("main") == 0
    assert len(machine.started) == 2
    assert machine.started[0].finish_key != machine.started[1].finish_key == machine.state["key"]


def test_main_says_where_the_report_will_be(machine: Machine) -> None:
    machine.run("main")
    outputs = machine.outputs
    assert (outputs["verdict"], outputs["findings"]) == ("pending", "")
    report = Path(outputs["report"])
    assert report.name == "report.json"
    assert report.parent.is_dir() and report.parent.parent == machine.directory
    assert report.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("inputs", "code", "title"),
    [
        ({"mode": "blok"}, ExitCode.USAGE, "the step's inputs are wrong"),
        ({"policy": "version: 1\nmode: x\n"}, ExitCode.POLICY, "the policy cannot be used"),
        ({"policy": "leakstop.yml"}, ExitCode.POLICY, "the policy cannot be used"),
        ({"policy": "/etc/../x/ws/p.yml"}, ExitCode.POLICY, "the policy cannot be used"),
    ],
)
def test_what_is_wrong_ends_main_with_its_code_and_an_annotation(
    machine: Machine, said: Any, inputs: dict[str, str], code: ExitCode, title: str
) -> None:
    machine.environ["GITHUB_WORKSPACE"] = "/x/ws"
    machine.inputs(**inputs)
    assert machine.run("main") == code
    (command,) = [line for line in said().splitlines() if line.startswith("::error")]
    assert command.startswith(f"::error title=Leakstop%3A {title}::")
    assert machine.started == []
    assert machine.outputs == {}


def test_a_machine_that_cannot_guard_ends_main(machine: Machine, said: Any) -> None:
    machine.start_failure = UnsupportedError("this machine has no cgroup v2", fix="another one")
    assert machine.run("main") == ExitCode.UNSUPPORTED
    assert "::error title=Leakstop%3A this machine is unsupported::" in said()


@pytest.mark.parametrize(
    ("mode", "code", "fetched"), [("audit", 0, ["psutil"]), ("block", ExitCode.UNSUPPORTED, [])]
)
def test_without_root_psutil_is_fetched_where_observing_is_enough(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    code: int,
    fetched: list[str],
) -> None:
    asked: list[str] = []

    def provide(module: str) -> None:
        if module == "psutil":
            asked.append(module)
            machine.start_failure = None

    machine.start_failure = UnsupportedError("the kernel sensor needs root")
    monkeypatch.setattr(dependencies, "has", lambda module: module != "psutil")
    monkeypatch.setattr(dependencies, "provide", provide)
    machine.inputs(mode=mode)
    assert machine.run("main") == code
    assert asked == fetched
    assert len(machine.started) == len(fetched)


def test_a_fault_of_ours_is_an_annotation_too(
    machine: Machine, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("at hand")

    monkeypatch.setattr(prepare, "prepare", broken)
    assert machine.run("main") == ExitCode.INTERNAL
    text = said()
    assert "the guard failed::ZeroDivisionError in Leakstop itself%0A" in text
    assert "at hand" not in text


def test_a_file_of_the_machine_is_a_policy(machine: Machine, tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    (tmp_path / "policy.yml").write_text("version: 1\nmode: block\n")
    machine.environ["GITHUB_WORKSPACE"] = str(tmp_path / "workspace")
    machine.inputs(policy=str(tmp_path / "policy.yml"))
    assert machine.run("main") == 0
    assert policy_of(machine.started[0]).mode is Mode.BLOCK


def test_a_cgroup_that_is_none_is_refused(
    machine: Machine, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = dataclasses.replace(WORKER, cgroup="/nonexistent")
    monkeypatch.setattr(Worker, "of_this_step", lambda: strange)
    assert machine.run("main") == ExitCode.UNSUPPORTED
    assert "LEAKSTOP_CGROUP is no cgroup v2 directory" in said()


# -- post -----------------------------------------------------------------------------------


def report(code: ExitCode = ExitCode.CLEAN) -> Report:
    made = guarded().sees(execs(20, "curl"), connects(20, "203.0.113.9", 443, REFUSED)).report
    verdict = "pass" if code is ExitCode.CLEAN else "fail"
    return dataclasses.replace(made, exit_code=code, verdict=verdict)


@pytest.fixture
def guarding(machine: Machine, said: Any) -> Machine:
    """A machine on which ``main`` has succeeded, and a job has run since."""
    machine.inputs(summary="full")
    machine.run("main")
    machine.forget_inputs()
    machine.inputs(mode="strict", summary="of the wrapper", nonsense="x")
    said()
    return machine


@pytest.mark.parametrize(
    ("code", "exit_code", "meaning"),
    [
        (ExitCode.CLEAN, 0, ""),
        (ExitCode.FINDINGS, 1, "findings at or above `fail-on` (exit code 10)"),
        (ExitCode.DENIED, 1, "denied in block mode (exit code 11)"),
        (ExitCode.COVERAGE, 1, "coverage was lost (exit code 12)"),
    ],
)
def test_the_verdict_is_the_exit_code_and_inputs_do_not_matter(
    guarding: Machine, said: Any, code: ExitCode, exit_code: int, meaning: str
) -> None:
    guarding.report = report(code)
    assert guarding.run("post") == exit_code
    text = said()
    assert meaning in text
    assert ("The job fails" in text) == bool(exit_code)
    assert guarding.outputs["verdict"] == guarding.report.verdict
    assert guarding.outputs["findings"] == str(len(guarding.report.findings))
    assert guarding.cleaned == [False]


def test_post_writes_the_report_the_summary_and_the_record(guarding: Machine, said: Any) -> None:
    guarding.report = report()
    guarding.run("post")
    path = Path(guarding.outputs["report"])
    assert json.loads(path.read_text())["verdict"] == "pass"
    assert (path.parent / "summary.md").read_text() == guarding.summary
    assert guarding.summary.startswith("### Leakstop")
    text = said()
    assert text.index("Leakstop:") < text.index("::group::") < text.index("::endgroup::")


def test_post_says_hosts_in_the_words_of_the_beginning(guarding: Machine, said: Any) -> None:
    index = (answers("index.test", "203.0.113.9"), connects(20, "203.0.113.9", 443, PASSED))
    guarding.report = guarded().sees(execs(20, "pip"), *index).report
    guarding.run("post")
    assert "python" in guarding.summary and "index.test" not in guarding.summary
    told, _, record = said().partition("::group::")
    assert "python" in told and "index.test" not in told
    assert "index.test" in record, "evidence names the host"


def test_an_agent_that_is_gone_is_lost_coverage_even_if_it_ended_in_order(
    guarding: Machine, said: Any
) -> None:
    guarding.alive = False
    guarding.report = report()
    assert guarding.run("post") == 1
    assert "::error title=Leakstop%3A not protected::" in said()
    assert guarding.outputs["verdict"] == "fail"
    assert guarding.cleaned == [True], "what it left in the kernel goes, too"


def test_a_leak_stays_a_leak_where_the_agent_is_gone(guarding: Machine, said: Any) -> None:
    guarding.alive = False
    guarding.report = report(ExitCode.FINDINGS)
    assert guarding.run("post") == 1
    assert "exit code 10" in said()


def test_an_agent_that_does_not_answer_leaves_its_journal(
    guarding: Machine, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "load_state", lambda _: None)
    monkeypatch.setattr(fold, "fold", lambda _: report())
    monkeypatch.setattr(epilogue, "_copy_journal", lambda *_: None)
    assert guarding.run("post") == 1
    assert "::error title=Leakstop%3A not protected::" in said()


def test_without_a_journal_it_is_red_all_the_same(guarding: Machine, said: Any) -> None:
    assert guarding.run("post") == ExitCode.COVERAGE
    assert "::error title=Leakstop%3A coverage was lost::" in said()
    assert guarding.cleaned == [False]


def test_a_renderer_that_fails_hides_no_verdict(
    guarding: Machine, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise ZeroDivisionError

    for module in (epilogue.text, epilogue.record, epilogue.summary):
        monkeypatch.setattr(module, "render", broken)
    guarding.report = report(ExitCode.FINDINGS)
    assert guarding.run("post") == 1
    assert "::error title=Leakstop%3A a host was denied::" in said()
    assert "could not be rendered" in guarding.summary


def test_a_report_directory_that_was_taken_away_is_made_again(guarding: Machine) -> None:
    guarding.report = report()
    directory = Path(guarding.outputs["report"]).parent
    directory.rmdir()
    assert guarding.run("post") == 0
    assert (directory / "report.json").exists()


def test_post_after_a_step_that_started_nothing(machine: Machine, said: Any) -> None:
    assert machine.run("post") == 1
    assert "Nothing was guarded" in said()


def test_post_after_a_main_that_failed(machine: Machine, said: Any) -> None:
    """It was only observed, so there is no verdict that could be believed."""
    machine.run("pre")
    machine.inputs(mode="blok")
    machine.run("main")
    said()
    machine.report = report()
    assert machine.run("post") == 1
    text = said()
    assert "Only observed" in text
    assert "::group::" not in text
    assert machine.summary == ""


def test_all_of_the_state_is_kept_each_time() -> None:
    """A job can set variables of its own: one that is never kept could be the job's."""
    names = {field.name for field in dataclasses.fields(Kept)}
    kept = Kept.read(Runner({f"STATE_{name}": name for name in names}))
    assert dataclasses.asdict(kept) == {name: name for name in names}
    assert settings.INPUTS, "none of which is a name of the state"
    assert names.isdisjoint(settings.INPUTS)


def test_a_second_use_does_nothing_and_fails(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the first one's agent lives; what a dead one has left is in nobody's way."""
    machine.environ["LEAKSTOP_RUN"] = "/run/leakstop/job-1"
    machine.alive = True
    assert machine.run("pre") == 0
    assert machine.run("main") == ExitCode.USAGE
    assert machine.started == []
    assert "guarded already, by an earlier use of this action" in capsys.readouterr().out
    machine.alive = False
    assert machine.run("pre") == machine.run("main") == 0
    assert len(machine.started) == 1


def test_canaries_are_planted_watched_and_removed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = machine.directory / "home"
    home.mkdir()
    user = Identity(os.geteuid(), os.getegid(), "", str(home))
    monkeypatch.setattr(hook, "invoking_user", lambda: user)
    variables = machine.directory / "GITHUB_ENV"
    machine.inputs(canaries="true")
    assert machine.run("pre") == machine.run("main") == 0
    (request,) = machine.started
    planted = {secret.name: secret for secret in request.secrets if secret.source == CANARY}
    assert len(planted) == 5
    homes = from_canonical(request.policy).homes
    assert all(homes[name].nowhere for name in planted)
    assert (home / ".npmrc").exists()
    assert planted["CANARY_VARIABLE"].value in variables.read_bytes()
    said = capsys.readouterr().out
    assert all(f"::add-mask::{secret.value.decode()}\n" in said for secret in planted.values())
    machine.run("post")
    assert list(home.iterdir()) == []


def test_without_being_asked_for_none_is_planted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canaries, "plant", lambda *_: pytest.fail("planted"))
    assert machine.run("pre") == machine.run("main") == 0
