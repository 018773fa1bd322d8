# SPDX-License-Identifier: MIT
"""``leakstop check`` and ``leakstop explain`` as people run them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leakstop.cli import main as entry
from leakstop.errors import ExitCode

GOOD = """\
version: 1
mode: block
allow: api.example.test
expect:
  - allow: api.example.test
  - deny: other.example.test
"""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that the one who reads policies may look into."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and not directory.stat().st_mode & 0o001:
            directory.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "ci.yml").write_text(GOOD)
    return tmp_path


def add_workflow(repository: Path, steps: str) -> None:
    folder = repository / ".github" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.yml").write_text(f"on: push\njobs:\n  build:\n    steps:\n{steps}")


def test_a_good_policy(capfd: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["check", "ci.yml"]) == ExitCode.CLEAN
    assert "ci.yml: ok (2 of 2 expectations, sha256:" in capfd.readouterr().out


def test_an_expectation_that_does_not_hold(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / "ci.yml").write_text(GOOD + "  - allow: third.example.test\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.POLICY
    said = capfd.readouterr().out
    assert "ci.yml:7: `allow: third.example.test`" in said
    assert "2 of 3 expectations" in said


def test_every_policy_is_looked_at(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (repository / "bad.yml").write_text("version: 1\nmode: enforce\n")
    assert entry.main(["check", "bad.yml", "ci.yml"]) == ExitCode.POLICY
    said = capfd.readouterr().out
    assert "bad.yml:2:7: error" in said
    assert "ci.yml: ok" in said


def test_a_guard_in_its_place(repository: Path) -> None:
    add_workflow(repository, "      - uses: OWNER/leakstop@v1\n      - run: make\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.CLEAN


def test_a_guard_that_does_not_guard(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    add_workflow(repository, "      - run: make\n      - uses: OWNER/leakstop@v1\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.FINDINGS
    assert ".github/workflows/build.yml:6: error: the guard is step 2" in capfd.readouterr().out


def test_a_wrapper(repository: Path) -> None:
    add_workflow(repository, "      - run: make\n      - uses: acme/guard@v1\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.CLEAN
    assert entry.main(["check", "ci.yml", "--guard", "acme/guard"]) == ExitCode.FINDINGS


def test_a_broken_policy_is_graver_than_a_misplaced_guard(repository: Path) -> None:
    add_workflow(repository, "      - run: make\n      - uses: OWNER/leakstop@v1\n")
    (repository / "ci.yml").write_text("version: 2\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.POLICY


@pytest.mark.parametrize(
    ("destination", "says"),
    [
        ("api.example.test", "allowed by a rule"),
        ("api.example.test:8443", "denied in block mode"),
        ("https://api.example.test", "allowed by a rule"),
        ("192.0.2.1", "denied in block mode"),
        ("udp://192.0.2.1:53", "denied in block mode"),
    ],
)
def test_explain_says_what_happens(
    capfd: pytest.CaptureFixture[str], destination: str, says: str
) -> None:
    assert entry.main(["explain", "ci.yml", destination]) == ExitCode.CLEAN
    assert says in capfd.readouterr().out


STEPS = """\
      - uses: OWNER/leakstop@v1
        with: {policy: ./ci.yml}
      - uses: actions/checkout@v6
      - name: Publish
        id: up
        run: npm publish
      - run: |
          make all
          make check
      - name: "Deploy ${{ matrix.stage }}"
        id: deploy
        run: ./deploy
      - name: Push image
        run: docker push cr.example.test/x
      - name: Build image
        uses: docker/build-push-action@v6
"""


@pytest.mark.parametrize(
    "step",
    [
        "Publish",
        "up",
        "P*sh",
        "Run make all",
        "actions/checkout",
        "deploy",
        "Run actions/checkout@v6",
    ],
)
def test_a_step_that_is_there_needs_no_remark(
    repository: Path, capfd: pytest.CaptureFixture[str], step: str
) -> None:
    add_workflow(repository, STEPS)
    (repository / "ci.yml").write_text(f"version: 1\nallow: {{host: a.test, step: {step}}}\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.CLEAN
    assert "warning" not in capfd.readouterr().out


def test_a_step_that_is_not_there_is_warned_of(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_workflow(repository, STEPS)
    (repository / "ci.yml").write_text(
        "version: 1\nallow:\n  - host: a.test\n    step:\n      - Publish\n      - Publsh\n"
        "secrets: {T: {to: a.test, step: Deploy prod}}\n"
        "expect: {deny: a.test, step: Publish npm}\n"
    )
    assert entry.main(["check", "ci.yml"]) == ExitCode.CLEAN
    said = capfd.readouterr().out.splitlines()
    assert [line.partition(": warning: ")[::2] for line in said if "warning" in line] == [
        (f"ci.yml:{line}", f"`step: {step}` names no step in .github/workflows/build.yml")
        for line, step in ((6, "Publsh"), (7, "Deploy prod"), (8, "Publish npm"))
    ]
    assert said[1] == (
        "   = steps there: actions/checkout, Publish, Run make all, deploy, Push image, "
        "Build image. A rule for a step that never runs allows nothing."
    )


def test_steps_are_looked_for_in_the_workflows_that_use_the_policy(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_workflow(repository, STEPS)
    other = repository / ".github" / "workflows" / "other.yml"
    other.write_text("on: push\njobs:\n  a:\n    steps:\n      - name: Elsewhere\n        run: x\n")
    policy = repository / "ci.yml"
    policy.write_text("version: 1\nallow: {host: a.test, step: Elsewhere}\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.CLEAN
    assert "names no step in .github/workflows/build.yml" in capfd.readouterr().out
    policy.rename(repository / "other.yml")
    other.write_text(other.read_text() + "      - uses: OWNER/leakstop@v1\n")
    entry.main(["check", "other.yml"])
    assert "names no step" not in capfd.readouterr().out


@pytest.mark.parametrize("step", ["Push image", "Build image", "docker/build-push-action"])
def test_docker_connects_for_a_step(
    repository: Path, capfd: pytest.CaptureFixture[str], step: str
) -> None:
    add_workflow(repository, STEPS)
    policy = repository / "ci.yml"
    policy.write_text(f"version: 1\nallow: {{host: cr.example.test, step: {step}}}\n")
    assert entry.main(["check", "ci.yml"]) == ExitCode.CLEAN
    said = capfd.readouterr().out
    assert said.count(f"ci.yml:2: warning: `step: {step}` reaches no registry itself") == 1
    assert "write `process: /usr/bin/dockerd`" in said
    policy.write_text(
        f"version: 1\nallow: [{{host: cr.example.test, step: [{step}]}},"
        " {host: cr.example.test, process: dockerd}]\n"
    )
    entry.main(["check", "ci.yml"])
    assert ("reaches no registry" in capfd.readouterr().out) == step.startswith("docker/")


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ([], "not named by any rule"),
        (["--step", "Publish"], "allowed by a rule"),
        (["--step", "Build"], "covers it for step `Publish` only"),
        (["--step", "Build", "--process", "/usr/bin/up", "--container", "x"], "for step `Publish`"),
    ],
)
def test_explain_asks_for_somebody(
    repository: Path, capfd: pytest.CaptureFixture[str], who: list[str], says: str
) -> None:
    policy = repository / "ci.yml"
    policy.write_text("version: 1\nmode: block\nallow: {host: a.test, step: Publish}\n")
    assert entry.main(["explain", "ci.yml", "a.test", *who]) == ExitCode.CLEAN
    assert says in capfd.readouterr().out


@pytest.mark.parametrize(
    ("taken", "says"),
    [
        ("sudo", "lockdown: sudo is taken from the job, but with Docker it can still become root"),
        ("docker", "lockdown: Docker is taken from the job, but with sudo it can take it back"),
        ("[docker, sudo]", "lockdown: sudo and Docker are taken from the job"),
    ],
)
@pytest.mark.parametrize("mode", ["audit", "block"])
def test_explain_says_what_is_taken_from_the_job(
    repository: Path, capfd: pytest.CaptureFixture[str], mode: str, taken: str, says: str
) -> None:
    base = f"version: 1\nlockdown: {taken}\n"
    (repository / "base.yml").write_text(base)
    (repository / "ci.yml").write_text(f"version: 1\nmode: {mode}\nextends: ./base.yml\n")
    assert entry.main(["explain", "ci.yml", "a.test"]) == ExitCode.CLEAN
    assert capfd.readouterr().out.splitlines()[-1] == says


def test_explain_names_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    entry.main(["explain", "ci.yml", "api.example.test"])
    out = capfd.readouterr().out
    assert "ci.yml:3" in out
    assert "lockdown" not in out


@pytest.mark.parametrize("destination", ["a b", "registry:pip", "github", "*.test", "x:0"])
def test_explain_takes_a_destination_only(
    capfd: pytest.CaptureFixture[str], destination: str
) -> None:
    assert entry.main(["explain", "ci.yml", destination]) == ExitCode.USAGE
    assert "HOST" in capfd.readouterr().err
