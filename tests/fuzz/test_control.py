# SPDX-License-Identifier: MIT
"""What a peer says to the agent, which is root: a refusal, a hang-up, never its end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from random import Random
from typing import Any

from fuzz.mutate import bend, bend_json, fuzz
from leakstop.daemon.agent import Agent
from leakstop.daemon.assemble import Guard
from leakstop.daemon.control import Channel
from leakstop.daemon.journal import Journal
from leakstop.daemon.request import ArmRequest, request_from_json, request_to_json
from leakstop.errors import UnsupportedError, UsageError
from leakstop.model.report import Job
from leakstop.secrets.inventory import Secret
from unit.daemon.scene import request

ASKED: dict[str, Any] = {
    "ask": "arm",
    "key": "k",
    "request": request_to_json(
        request(
            secrets=(Secret("TOKEN", b"\xff\0value", ("a.test",)),),
            job=Job(),
            finish_key="k",
            worker_pid=1,
        )
    ),
}
LINES = [json.dumps(ASKED).encode() + b"\n", b'{"ask":"status"}\n{"ask":"words","words":"x"}\n']
WORDS = [*(bytes((byte,)) for byte in b'\n{}",:\0\xff'), b"[" * 2000, b"\\ud800", b"null"]


def test_messages_however_they_are_cut() -> None:
    def take(random: Random) -> None:
        data = bend(random, LINES, WORDS)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            channel, pieces, found = Channel(ours), [], []
            for at in range(0, len(data), size := random.choice((1, 7, 64, 4096))):
                pieces.append(data[at : at + size])
            with contextlib.suppress(ValueError):
                for piece in pieces:
                    found += channel.take(piece) or []
                whole = data[: data.rfind(b"\n") + 1]
                assert found == [json.loads(line) for line in whole.split(b"\n")[:-1]]

    fuzz("messages", 2_000, take)


def test_requests() -> None:
    def take(random: Random) -> None:
        with contextlib.suppress(UsageError):
            got = request_from_json(bend_json(random, ASKED["request"]))
            assert isinstance(got.policy, bytes) and isinstance(got.worker_pid, int)
            assert all(isinstance(secret.value, bytes) for secret in got.secrets)

    fuzz("requests", 3_000, take)


def test_questions_to_an_agent(tmp_path: Path) -> None:
    def refuse(request: ArmRequest, directory: Path, **_: object) -> Guard:
        raise UnsupportedError("there is no kernel here")

    path = tmp_path / "events.ndjson"
    agent = Agent(tmp_path, Journal.create(path), refuse, journal_path=path, owner_uid=os.getuid())

    connection, _ = socket.socketpair()

    def take(random: Random) -> None:
        asked = bend_json(random, ASKED)
        if isinstance(asked, dict):
            with contextlib.suppress(ValueError):  # the agent hangs up
                answer = agent._answer(asked, connection)
                assert answer["ok"] in (True, False)
                json.dumps(answer)

    fuzz("questions", 2_000, take)
