# SPDX-License-Identifier: MIT
"""Work that must not have root's rights: reading policy text, asking package managers.

A policy may come from a pull request, and its parser is a large piece of code. So as root
it is read in a forked child that has become an ordinary user first, for good; only plain
JSON comes back.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from leakstop.daemon.control import Channel, error_from_json, error_to_json
from leakstop.errors import LeakstopError, trace

_NOBODY = 65534
_PATIENCE_S = 5.0
"""With a child that only has to import something, or to end."""

Ask = Callable[[Any], Any]
"""Puts a question from the child to the parent, and returns the answer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user to become."""

    uid: int
    gid: int
    name: str = ""
    """Of the account; empty for a number without one."""
    home: str = ""

    def become(self) -> None:
        """Give up root's rights for good; nothing happens where there are none to give up."""
        if os.geteuid() != 0 or self.uid == 0:
            return
        try:
            if self.name:
                os.initgroups(self.name, self.gid)
            else:
                os.setgroups([])
        except PermissionError:
            return  # root by name alone, as in a container: it may not even become somebody else
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)

    def environment(self) -> dict[str, str]:
        """The environment of this process, with the variables that name the user set right."""
        environment = dict(os.environ)
        if os.geteuid() == 0 and self.uid != 0 and self.home:
            environment |= {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}
        return environment


def invoking_user() -> Identity:
    """Whoever typed the command: under sudo the user who called it, else this process's own."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdecimal() and gid.isdecimal() and int(uid) != 0:
        return _identity(int(uid), int(gid))
    own = _identity(os.geteuid(), os.getegid())
    return replace(own, home=os.environ.get("HOME") or own.home)  # where its tools look


def reader() -> Identity:
    """Who reads policies: the invoking user, or ``nobody`` where that is root."""
    user = invoking_user()
    return user if user.uid != 0 else _identity(_NOBODY, _NOBODY)


def confined(
    identity: Identity, load: Callable[[], None], work: Callable[[Ask], Any], serve: Ask
) -> Any:
    """Run ``work`` in a child that has become ``identity``, and return what it returned.

    ``load`` imports what ``work`` needs: still as root, for the interpreter may lie where
    nobody else can read, but in the child, so that it stays out of the guard's processes.
    The result, and the questions that ``work`` asks of ``serve``, are plain JSON.

    Raises:
        LeakstopError: the one that ``work`` or ``serve`` raised, or that the child died.
    """
    child, channel = _fork(identity, load, work)
    try:
        return _parent(channel, serve)
    finally:
        channel.close()
        os.waitpid(child, 0)


class Aside:
    """Confined work beside ours. What does not come in time, or fails, is gone without."""

    def __init__(
        self, identity: Identity, load: Callable[[], None], work: Callable[[], Any]
    ) -> None:
        """Fork the child, which loads and then waits for ``release``."""

        def patiently(ask: Ask) -> Any:
            # Of its own, so that Ctrl-C, which the guarded command may survive, passes it by.
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
            ask(None)
            return work()

        self._child, self._channel = _fork(identity, load, patiently)

    def release(self) -> None:
        """Let the work begin, and return when that is so. From here on it imports nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._channel.socket.settimeout(_PATIENCE_S)
            if self._channel.receive() is not None:
                self._channel.send({"answer": None})

    def result(self, patience_s: float) -> Any:
        """What the work returned, waiting for it at most ``patience_s``; else ``None``."""
        with contextlib.suppress(OSError, ValueError):
            self._channel.socket.settimeout(patience_s)
            message = self._channel.receive()
            return message.get("result") if message else None
        return None

    def close(self) -> None:
        """End the child, and what it has started."""
        if not self._child:
            return
        self._channel.close()
        os.kill(self._child, signal.SIGTERM)  # once: a second one would interrupt its tidying up
        deadline = time.monotonic() + _PATIENCE_S
        while not os.waitpid(self._child, os.WNOHANG)[0]:
            if time.monotonic() >= deadline:
                os.kill(self._child, signal.SIGKILL)
            time.sleep(0.002)
        self._child = 0


def _fork(
    identity: Identity, load: Callable[[], None], work: Callable[[Ask], Any]
) -> tuple[int, Channel]:
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            _child(identity, load, work, Channel(theirs))
        finally:
            os._exit(1)  # whatever happened: this process must not go on as its parent
    theirs.close()
    return child, Channel(ours)


def _parent(channel: Channel, serve: Ask) -> Any:
    while True:
        message = channel.receive()
        if message is None:
            raise LeakstopError("the process that reads the policy died", fix="please report this")
        if "error" in message:
            raise error_from_json(message["error"])
        if "result" in message:
            return message["result"]
        channel.send({"answer": serve(message["question"])})


def _child(
    identity: Identity, load: Callable[[], None], work: Callable[[Ask], Any], channel: Channel
) -> None:
    def ask(question: Any) -> Any:
        channel.send({"question": question})
        answer = channel.receive()
        if answer is None:
            os._exit(1)
        return answer["answer"]

    try:
        _close_all_but(channel.socket.fileno())
        load()
        environment = identity.environment()
        identity.become()
        os.environ.update(environment)
        result = work(ask)
        sys.stdout.flush()
        channel.send({"result": result})
        os._exit(0)
    except LeakstopError as error:
        channel.send({"error": error_to_json(error)})
    except SystemExit:
        pass  # told to end. Caught, so that what hangs on its frames is tidied up before we exit
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
        _say(channel, error)


def _close_all_but(descriptor: int) -> None:
    """What reads a stranger's policy holds no way to the agent, and no journal."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def _say(channel: Channel, failure: BaseException) -> None:
    error = LeakstopError(
        "the policy could not be read", why=trace(failure), fix="a fault of ours: please report it"
    )
    channel.send({"error": error_to_json(error)})


def _identity(uid: int, gid: int) -> Identity:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, gid)
    return Identity(uid, gid, entry.pw_name, entry.pw_dir)


__all__ = ["Aside", "Ask", "Identity", "confined", "invoking_user", "reader"]
