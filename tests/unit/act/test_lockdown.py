# SPDX-License-Identifier: MIT
"""What is taken away is read back, kept until the last guard ends, and given back as it was."""

from __future__ import annotations

import errno
import grp
import json
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakstop.act import lockdown
from leakstop.errors import LeakstopError, UnsupportedError

USER, GROUP, UID = "runner", "docker", 1001


class Machine:
    """A machine with sudo, a group and a socket, whose tools obey; unless told otherwise."""

    def __init__(self, base: Path) -> None:
        self.members = [USER]
        self.obeys = True
        self.socket = base / "docker.sock"
        self.drop_ins = base / "sudoers.d"
        self.drop_ins.mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.socket))
        self.socket.chmod(0o660)

    def run(self, *command: str) -> str:
        """Stand in for sudo, visudo and gpasswd."""
        tool = command[0].rpartition("/")[2]
        if tool == "gpasswd" and self.obeys:
            change = {"--delete": self.members.remove, "--add": self.members.append}
            change[command[1]](command[2])
        if "-U" in command:
            assert command[-1] == USER, "sudo -U takes no number"
        forbidden = any(self.drop_ins.iterdir()) and self.obeys
        return f"(ALL) NOPASSWD: ALL\n{'(ALL : ALL) !ALL' if forbidden else ''}"

    @property
    def mode(self) -> int:
        return stat.S_IMODE(self.socket.stat().st_mode)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine of its own for each test."""
    made = Machine(tmp_path)
    group = [GROUP, "x", 999, made.members]
    user = [USER, "x", UID, UID, "", "/home/runner", "/bin/sh"]
    monkeypatch.setattr(lockdown, "LEDGER", tmp_path / "ledger/lockdown.json")
    monkeypatch.setattr(lockdown, "SUDOERS", made.drop_ins)
    monkeypatch.setattr(lockdown, "ENGINE_SOCKETS", (str(made.socket),))
    monkeypatch.setattr(lockdown, "_SUDO", str(made.socket))  # something that is there
    monkeypatch.setattr(lockdown, "_run", made.run)
    monkeypatch.setattr(lockdown.os, "chown", lambda *_: None)
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.struct_group(group))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(user))
    yield made
    assert not list(lockdown.LEDGER.parent.glob("*")), "something was left taken, or lying"


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners are not looked at: who runs the tests may be anybody."""
    look = lockdown.Socket.look

    def owned(self: lockdown.Socket) -> lockdown.Before:
        mode, *_ = look(self)
        return [mode, 0, 0 if mode == 0o600 else 999]

    monkeypatch.setattr(lockdown.Socket, "look", owned)


def test_sudo_is_forbidden_as_the_last_word_and_given_back(machine: Machine) -> None:
    lockdown.lock_down(["sudo"], UID, "one")
    (file,) = machine.drop_ins.iterdir()
    assert file.name.startswith("zzzz-")
    assert "." not in file.name, "sudo reads no file with a dot in its name"
    assert "#1001 ALL=(ALL:ALL) !ALL" in file.read_text().splitlines()
    assert stat.S_IMODE(file.stat().st_mode) == 0o440
    assert (machine.mode, machine.members) == (0o660, [USER])
    lockdown.release("one")
    assert list(machine.drop_ins.iterdir()) == []


def test_docker_is_closed_for_those_who_have_its_group_already(machine: Machine) -> None:
    lockdown.lock_down(["docker"], UID, "one")
    assert (machine.mode, machine.members) == (0o600, [])
    assert list(machine.drop_ins.iterdir()) == []
    lockdown.release("one")
    assert (machine.mode, machine.members) == (0o660, [USER])


def test_of_two_guards_the_last_one_gives_it_back(machine: Machine) -> None:
    lockdown.lock_down(["sudo", "docker"], UID, "one")
    lockdown.lock_down(["docker"], UID, "two")
    lockdown.release("one")
    assert (machine.mode, machine.members) == (0o600, [])
    assert list(machine.drop_ins.iterdir()) == []
    lockdown.release("two")
    assert (machine.mode, machine.members) == (0o660, [USER])


def test_the_ledger_tells_how_it_was(machine: Machine) -> None:
    lockdown.lock_down(["docker"], UID, "one")
    ledger = json.loads(lockdown.LEDGER.read_text())
    assert ledger[f"socket:{machine.socket}"] == {"before": [0o660, 0, 999], "holders": ["one"]}
    assert stat.S_IMODE(lockdown.LEDGER.stat().st_mode) == 0o600
    lockdown.release("one")


def test_nothing_is_released_twice(machine: Machine) -> None:
    lockdown.lock_down(["docker"], UID, "one")
    lockdown.release("one")
    machine.socket.chmod(0o666)
    lockdown.release("one")
    lockdown.release("nobody")
    assert machine.mode == 0o666


@pytest.mark.parametrize("what", ["sudo", "docker"])
def test_what_cannot_be_taken_ends_the_job_and_leaves_nothing(machine: Machine, what: str) -> None:
    machine.obeys = False
    with pytest.raises(LeakstopError, match="lockdown failed"):
        lockdown.lock_down([what], UID, "one")
    assert (machine.mode, machine.members) == (0o660, [USER])
    assert list(machine.drop_ins.iterdir()) == []


def test_so_does_what_the_system_refuses(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        monkeypatch.setattr(lockdown.os, "chown", lambda *_: None)
        raise OSError(errno.EPERM, "Operation not permitted", str(machine.socket))

    monkeypatch.setattr(lockdown.os, "chown", refuse)
    with pytest.raises(LeakstopError, match=f"lockdown failed: {machine.socket}") as failed:
        lockdown.lock_down(["sudo", "docker"], UID, "one")
    assert failed.value.why == "Operation not permitted"
    assert (machine.mode, list(machine.drop_ins.iterdir())) == (0o660, [])


def test_what_cannot_be_given_back_is_told_and_tried_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(machine.socket))

    lockdown.lock_down(["sudo", "docker"], UID, "one")
    monkeypatch.setattr(lockdown.os, "chown", refuse)
    (told,) = lockdown.release("one")
    assert f"`socket:{machine.socket}` (Operation not permitted)" in told
    assert machine.members == [USER], "all else is given back"
    assert list(machine.drop_ins.iterdir()) == []
    monkeypatch.setattr(lockdown.os, "chown", lambda *_: None)
    assert lockdown.release("two") == ()
    assert machine.mode == 0o660


def test_a_socket_that_has_gone_stays_gone(machine: Machine) -> None:
    lockdown.lock_down(["docker"], UID, "one")
    machine.socket.unlink()
    lockdown.release("one")
    assert not machine.socket.exists()


def test_root_cannot_be_kept_from_anything(machine: Machine) -> None:
    with pytest.raises(UnsupportedError, match="runs as root"):
        lockdown.lock_down(["sudo"], 0, "one")


def test_without_a_word_nothing_is_done(machine: Machine) -> None:
    lockdown.lock_down([], UID, "one")
    assert not lockdown.LEDGER.exists()


def test_a_machine_without_any_of_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: object) -> None:
        raise KeyError

    machine.socket.unlink()
    monkeypatch.setattr(grp, "getgrnam", nobody)
    lockdown.lock_down(["sudo", "docker"], UID, "one")
    assert list(lockdown.things(["sudo", "docker"], UID)) == []
    lockdown.release("one")


def test_a_thing_is_found_again_by_its_key() -> None:
    things = (
        lockdown.Sudo(UID),
        lockdown.Socket("/run/a:b.sock"),
        lockdown.Membership("runner", "docker"),
    )
    assert [lockdown._thing(thing.key) for thing in things] == list(things)
