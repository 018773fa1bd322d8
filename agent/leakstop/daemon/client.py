# SPDX-License-Identifier: MIT
"""Talking to an agent from another process: arm it, ask it, end it, or fold what it left."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leakstop.act.kill import start_ticks
from leakstop.daemon import fold
from leakstop.daemon.control import ANSWER_S, Channel, peer_pid
from leakstop.daemon.lifecycle import RunDir
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.errors import CoverageError
from leakstop.model.codec import from_json
from leakstop.model.report import Report

START_S = 30.0
"""Patience with an agent that is being started: a machine may be slow, or busy with a job."""

_LEAVING_S = 10.0
"""How long an agent that has answered may take to be gone: on a busy machine longer than 2 s."""


class Impostor(CoverageError):
    """Somebody else listens where the agent should."""


class AgentClient:
    """A connection to an agent."""

    def __init__(self, channel: Channel) -> None:
        channel.socket.settimeout(ANSWER_S)
        self._channel = channel
        self.whom = _listener(channel.socket)
        """Who listens there, by process and start: the supervisor, agents come and go."""

    @classmethod
    def connect(cls, run_dir: Path, *, patience_s: float = 0.0, whom: str = "") -> AgentClient:
        """Connect to the agent that lives in ``run_dir``, waiting until it listens.

        ``whom``: who listened there when the guard was put in force, if that is known. Root in
        the job can put a socket of its own into that one's place.

        Raises:
            CoverageError: there is no agent, or it does not let us in.
            Impostor: it is not ``whom``.
        """
        client = cls._connect(run_dir, patience_s)
        if whom and client.whom != whom:
            client.close()
            raise Impostor(
                "it is not the agent that answers",
                why="another process listens on its control socket than when the guard began",
                fix="treat what ran as unproven",
                where=str(run_dir),
            )
        return client

    @classmethod
    def _connect(cls, run_dir: Path, patience_s: float) -> AgentClient:
        deadline = time.monotonic() + patience_s
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                connection.connect(str(RunDir(run_dir).control))
            except OSError as error:
                connection.close()
                # A fixed denial will not change by waiting.
                if isinstance(error, PermissionError) or time.monotonic() >= deadline:
                    raise CoverageError(
                        f"no agent answers: {error.strerror}",
                        why="it has ended, was never started, or belongs to another user",
                        fix="`leakstop start`, or name its run directory with `--run-dir`",
                        where=str(run_dir),
                    ) from error
                time.sleep(0.01)
            else:
                return cls(Channel(connection))

    def status(self) -> dict[str, Any]:
        """What is guarded now: ``state``, ``mode``, ``note``, ``digest``, ``scope``, ``pid``."""
        return self._channel.ask("status")

    def arm(self, request: ArmRequest, *, key: str = "") -> dict[str, Any]:
        """Put ``request`` in force, instead of the guard that was; ``key`` is that one's.

        Returns ``mode`` in force and ``note``, the sentence about reduced coverage or empty.

        Raises:
            LeakstopError: the guard could not be armed; the one before stays in force.
        """
        return self._channel.ask("arm", request=request_to_json(request), key=key)

    def teach(self, words: str, *, key: str = "") -> None:
        """Let the agent keep the machine's vocabulary for whoever renders the report.

        The first one counts, through every guard that it is armed with.

        Raises:
            LeakstopError: not allowed, or the agent died.
        """
        self._channel.ask("words", words=words, key=key)

    def report(self) -> Report:
        """The report as it stands now. The guard goes on."""
        return _report(self._channel.ask("report"))

    def finish(self, *, key: str = "") -> Report:
        """End the guard and the agent, and return the final report.

        Raises:
            LeakstopError: not allowed, or the agent died.
        """
        return _report(self._channel.ask("finish", key=key))

    def close(self) -> None:
        """Hang up. An agent of ``leakstop run`` takes that as the end of its owner."""
        self._channel.close()


def finish(run_dir: Path, *, key: str = "") -> Report:
    """End the guard in ``run_dir``, or rebuild the report of an agent that is gone.

    Raises:
        CoverageError: nothing was ever guarded there.
    """
    return last_word(run_dir, key=key) or left(run_dir)


def last_word(run_dir: Path, *, key: str = "", whom: str = "") -> Report | None:
    """End the guard in ``run_dir``: the report out of its agent's own mouth, or ``None``.

    Raises:
        CoverageError: the agent lives and does not answer, or it is not ``whom`` who does:
            nothing may be concluded.
    """
    report = _ask(run_dir, lambda client: client.finish(key=key), whom)
    deadline = time.monotonic() + _LEAVING_S
    while RunDir(run_dir).alive() and time.monotonic() < deadline:
        time.sleep(0.01)  # so that who comes next finds nobody
    return report


def report(run_dir: Path) -> Report:
    """The report of ``run_dir``: of the agent that lives, that ended, or that died."""
    return _ask(run_dir, AgentClient.report) or left(run_dir)


def left(run_dir: Path) -> Report:
    """The report that an agent has left, or what its journal says.

    Raises:
        CoverageError: there is neither.
    """
    final = fold.load_final(run_dir)
    return final if final is not None else fold.fold(fold.load_state(run_dir))


def words(run_dir: Path) -> str:
    """The vocabulary that the agent in ``run_dir`` was taught, or empty."""
    try:
        return fold.load_state(run_dir).words
    except CoverageError:
        return ""


def _ask(run_dir: Path, question: Callable[[AgentClient], Report], whom: str = "") -> Report | None:
    """Ask the agent, and if it dies meanwhile the one that is started after it.

    One that ends holds its lock for a moment longer than it listens: then its report is there.
    """
    deadline = time.monotonic() + START_S
    while RunDir(run_dir).alive():
        try:
            client = AgentClient.connect(run_dir, whom=whom)
            with contextlib.closing(client):
                return question(client)
        except CoverageError as error:  # noqa: PERF203 - asked a few times at most
            given = isinstance(error, Impostor) or isinstance(error.__cause__, PermissionError)
            if given or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    return None


def _listener(connection: socket.socket) -> str:
    """Who listens at the other end, as the kernel recorded it; empty if that one is gone."""
    pid = peer_pid(connection)
    began = start_ticks(pid)
    return "" if began is None else f"{pid} {began}"


def _report(answer: dict[str, Any]) -> Report:
    report: Report = from_json(Report, answer["report"])
    return report


__all__ = ["AgentClient", "Impostor", "finish", "last_word", "left", "report", "words"]
