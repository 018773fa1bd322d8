# SPDX-License-Identifier: MIT
"""Work without root's rights, in a child that can only answer."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from leakstop.cli import confined as module
from leakstop.cli.confined import Aside, Ask, Identity, confined, invoking_user, reader
from leakstop.errors import ExitCode, LeakstopError, PolicyError

ME = Identity(os.geteuid(), os.getegid())
NOBODY = Identity(65534, 65534)


def nothing() -> None:
    """Load nothing."""


def no_questions(_: Any) -> Any:
    raise AssertionError("nothing was to be asked")


def run(work: Any, identity: Identity = ME, serve: Any = no_questions) -> Any:
    return confined(identity, nothing, work, serve)


def test_the_result_comes_back() -> None:
    assert run(lambda _: {"a": [1, "é", None]}) == {"a": [1, "é", None]}


def test_it_happens_in_another_process() -> None:
    assert run(lambda _: os.getpid()) != os.getpid()


def test_questions_are_answered_here() -> None:
    def work(ask: Ask) -> Any:
        return [ask(["registry:pip"]), ask("again")]

    served = [os.getpid()]

    def serve(question: Any) -> Any:
        assert os.getpid() == served[0]
        return {"echo": question}

    assert run(work, serve=serve) == [{"echo": ["registry:pip"]}, {"echo": "again"}]


def test_an_error_is_the_same_on_this_side() -> None:
    met = PolicyError("wrong", why="because", fix="do this", where="a.yml:1:1")

    def work(_: Ask) -> Any:
        raise met

    with pytest.raises(LeakstopError) as caught:
        run(work)
    assert str(caught.value) == str(met)
    assert caught.value.exit_code is ExitCode.POLICY


@pytest.mark.parametrize("error", [KeyError("lost"), RecursionError("deep")])
def test_a_fault_is_internal_and_says_where(error: Exception) -> None:
    def work(_: Ask) -> Any:
        raise error

    with pytest.raises(LeakstopError) as caught:
        run(work)
    assert caught.value.exit_code is ExitCode.INTERNAL
    assert caught.value.why.startswith(type(error).__name__)
    assert "in work" in caught.value.why


def test_a_child_that_dies_is_an_error() -> None:
    with pytest.raises(LeakstopError, match="died"):
        run(lambda _: os._exit(3))


def test_an_error_while_answering_leaves_no_child() -> None:
    def serve(_: Any) -> Any:
        raise PolicyError("no index")

    with pytest.raises(PolicyError):
        run(lambda ask: ask("?"), serve=serve)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_child_has_none_of_our_descriptors(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("wb") as journal:
        number = journal.fileno()

        def work(_: Ask) -> Any:
            try:
                os.fstat(number)
            except OSError:
                return "closed"
            return "open"

        assert run(work) == "closed"


def test_a_child_whose_parent_is_gone_does_not_go_on_as_the_parent(tmp_path: Path) -> None:
    """It is a fork: what the parent has to clean up stands on its stack, too."""
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"

    def work(_: Ask) -> Any:
        started.touch()
        while os.getppid() == parent:
            time.sleep(0.001)
        return "nobody reads this"

    parent = os.fork()
    if parent == 0:
        parent = os.getpid()
        try:
            run(work)
        finally:
            cleaned.touch()
            os._exit(0)
    while not started.exists():
        time.sleep(0.001)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    time.sleep(0.2)
    assert not cleaned.exists()


# -- beside this process ----------------------------------------------------------------------


def nobody_is_left() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_work_beside_begins_when_it_is_released(tmp_path: Path) -> None:
    loaded, begun = tmp_path / "loaded", tmp_path / "begun"
    aside = Aside(ME, loaded.touch, lambda: begun.touch() or "done")
    while not loaded.exists():
        time.sleep(0.001)
    assert aside.result(0.1) != "done"
    aside.close()
    assert not begun.exists()
    aside = Aside(ME, nothing, lambda: "done")
    aside.release()
    assert aside.result(5) == "done"
    aside.close()
    aside.close()
    assert nobody_is_left()


def test_it_is_loaded_when_it_is_released(tmp_path: Path) -> None:
    def load() -> None:
        time.sleep(0.2)
        (tmp_path / "loaded").touch()

    aside = Aside(ME, load, lambda: None)
    aside.release()
    assert (tmp_path / "loaded").exists()
    aside.close()


def test_work_beside_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    def work() -> None:
        try:
            (tmp_path / "begun").touch()
            time.sleep(60)
        finally:
            (tmp_path / "tidied").touch()

    aside = Aside(ME, nothing, work)
    aside.release()
    while not (tmp_path / "begun").exists():
        time.sleep(0.001)
    assert aside.result(0.01) is None
    aside.close()
    assert (tmp_path / "tidied").exists()
    assert nobody_is_left()


@pytest.mark.parametrize("when", ["load", "work"])
def test_work_beside_that_fails_has_no_result(when: str) -> None:
    def fail() -> None:
        raise KeyError("lost")

    aside = Aside(ME, fail if when == "load" else nothing, fail)
    aside.release()
    assert aside.result(5) is None
    aside.close()
    assert nobody_is_left()


def test_ctrl_c_in_the_terminal_passes_work_beside_by() -> None:
    aside = Aside(ME, nothing, os.getpgrp)
    aside.release()
    assert aside.result(5) != os.getpgrp()
    aside.close()


@pytest.mark.root
def test_root_is_given_up_for_good() -> None:
    def work(_: Ask) -> Any:
        with contextlib.suppress(PermissionError):
            os.setuid(0)
        return [*os.getresuid(), *os.getresgid(), *os.getgroups()]

    assert run(work, NOBODY) == [65534] * 6


@pytest.mark.root
def test_the_child_cannot_read_what_root_can(tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("x")
    secret.chmod(0o600)

    def work(_: Ask) -> Any:
        try:
            return secret.read_text()
        except PermissionError:
            return "refused"

    assert run(work, NOBODY) == "refused"


@pytest.mark.root
def test_what_is_loaded_is_loaded_before(tmp_path: Path) -> None:
    seen: list[int] = []
    assert confined(
        NOBODY, lambda: seen.append(os.geteuid()), lambda _: [*seen, os.geteuid()], no_questions
    ) == [0, 65534]


def as_root(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module.os, "getegid", lambda: 0)
    for name in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_under_sudo_the_caller_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, SUDO_UID="65534", SUDO_GID="65534")
    assert (invoking_user().uid, invoking_user().gid) == (65534, 65534)
    assert reader() == invoking_user()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SUDO_UID": "0", "SUDO_GID": "0"},
        {"SUDO_UID": "1001"},
        {"SUDO_UID": "x", "SUDO_GID": "1001"},
        {"SUDO_UID": "-1", "SUDO_GID": "1001"},
    ],
)
def test_root_itself_reads_policies_as_nobody(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    as_root(monkeypatch, **environment)
    assert invoking_user().uid == 0
    assert reader().uid == 65534


def test_an_ordinary_user_stays_who_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 1234567)
    monkeypatch.setenv("SUDO_UID", "0")
    assert invoking_user().uid == reader().uid == 1234567


def test_the_environment_names_the_user_that_is_become(monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, HOME="/root")
    environment = Identity(1001, 1001, "someone", "/home/someone").environment()
    assert (environment["HOME"], environment["USER"]) == ("/home/someone", "someone")
    assert Identity(0, 0, "root", "/root").environment()["HOME"] == "/root"
