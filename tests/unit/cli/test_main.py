# SPDX-License-Identifier: MIT
"""The entry point: one subcommand is imported, errors become exit codes of the contract."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leakstop import __version__
from leakstop.cli import main as entry
from leakstop.errors import (
    CoverageError,
    ExitCode,
    LeakstopError,
    PolicyError,
    UnsupportedError,
    UsageError,
)

AGENT = Path(entry.__file__).resolve().parents[2]

CONTRACT = {
    "CLEAN": 0,
    "INTERNAL": 1,
    "USAGE": 2,
    "POLICY": 3,
    "UNSUPPORTED": 4,
    "FINDINGS": 10,
    "DENIED": 11,
    "COVERAGE": 12,
}
"""Written out: other tools rely on the numbers."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let ``report`` do what a test says."""

    def doing(action: Any) -> None:
        module = ModuleType("leakstop.cli.report")
        module.configure = lambda parser: parser.add_argument("--flag")  # type: ignore[attr-defined]
        module.run = action  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "leakstop.cli.report", module)

    return doing


def raises(error: BaseException) -> Any:
    def run(_: object) -> int:
        raise error

    return run


def test_the_contract_of_exit_codes() -> None:
    assert {code.name: int(code) for code in ExitCode} == CONTRACT


@pytest.mark.parametrize("code", list(ExitCode))
def test_what_a_command_returns_is_the_exit_code(command: Any, code: ExitCode) -> None:
    command(lambda _: code)
    assert entry.main(["report"]) == int(code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LeakstopError("x"), 1),
        (UsageError("x"), 2),
        (PolicyError("x"), 3),
        (UnsupportedError("x"), 4),
        (CoverageError("x"), 12),
    ],
)
def test_an_error_is_a_text_and_its_exit_code(
    command: Any, capsys: pytest.CaptureFixture[str], error: LeakstopError, code: int
) -> None:
    error.why, error.fix, error.where = "because", "do this", "here"
    command(raises(error))
    assert entry.main(["report"]) == code
    assert capsys.readouterr().err == "leakstop: here: error: x\n   = because\n   = do this\n"


def test_a_fault_of_ours_says_where_and_nothing_of_what_was_at_hand(
    command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raises(KeyError("at hand")))
    assert entry.main(["report"]) == ExitCode.INTERNAL
    said = capsys.readouterr().err
    assert "internal error: KeyError\n" in said
    assert "main.py:" in said
    assert "at hand" not in said


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["report", "--nonsense"],
        ["report", "extra"],
        ["report", "--", "true"],
        ["report", "--fla", "x"],
        ["run", "--mode", "enforce", "--", "true"],
        ["run", "--fail-on", "info", "--", "true"],
        ["run", "true"],
    ],
)
def test_wrong_usage_is_two(command: Any, argv: list[str]) -> None:
    command(lambda _: 0)
    with pytest.raises(SystemExit) as caught:
        entry.main(argv)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("argv", [["run"], ["run", "--"], ["run", "--mode", "audit"]])
def test_run_without_a_command_is_two(argv: list[str]) -> None:
    assert entry.main(argv) == ExitCode.USAGE


def test_what_follows_the_dashes_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from leakstop.cli import run

    seen: list[Any] = []
    monkeypatch.setattr(run, "run", lambda args: seen.append(args) or 0)
    assert entry.main(["run", "--mode", "block", "--", "sh", "-c", "x", "--mode", "--", "y"]) == 0
    assert seen[0].tail == ["sh", "-c", "x", "--mode", "--", "y"]
    assert seen[0].mode == "block"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        entry.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"leakstop {__version__}\n"


def test_help_names_every_command_that_people_type_and_all_exit_codes() -> None:
    text = entry.build_parser().format_help()
    for command in entry.COMMANDS:
        assert (f"\n    {command.name} " in text) is bool(command.help)
    for code in CONTRACT.values():
        assert f"\n  {code:2}  " in text


def test_every_command_has_one_file_of_the_same_shape() -> None:
    for command in entry.COMMANDS:
        module = importlib.import_module(command.module)
        assert callable(module.configure)
        assert callable(module.run)
        assert module.__doc__ is not None
        assert module.__doc__.startswith(f"``leakstop {command.name}") or not command.help


def python(code: str) -> list[str]:
    """Modules that a fresh interpreter has loaded after ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        env={"PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_manual_has_every_option_and_no_other() -> None:
    manual = (AGENT.parent / "docs" / "cli.md").read_text()
    known = {"--version", "--help"}
    for command in entry.COMMANDS:
        if command.name in ("agent", "hook"):
            continue  # other parts of Leakstop call them
        parser = argparse.ArgumentParser()
        importlib.import_module(command.module).configure(parser)
        known |= {word for action in parser._actions for word in action.option_strings}
    written = set(re.findall(r"`?(--[a-z][a-z-]+)", manual))
    known -= {"-h"}
    assert written <= known
    assert known - written == {"--version", "--help"}


HEAVY = {"yaml", "psutil", "scapy", "requests", "asyncio", "logging"}


@pytest.mark.parametrize(
    "module", ["cli.main", "cli.run", "cli.start", "cli.stop", "cli.report", "daemon.main"]
)
def test_the_guard_starts_light_and_parses_no_yaml(module: str) -> None:
    assert not HEAVY & set(python(f"import leakstop.{module}"))


def test_the_package_runs_as_a_file_from_a_plain_checkout() -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(AGENT / "leakstop" / "__main__.py"), "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"leakstop {__version__}\n"
