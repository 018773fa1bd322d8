# SPDX-License-Identifier: MIT
"""What travels to the agent: nothing is lost, nothing is guessed, no value is shown."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from leakstop.daemon.request import ArmRequest, request_from_json, request_to_json
from leakstop.errors import ExitCode, UsageError
from leakstop.model.report import Job
from leakstop.secrets.inventory import Secret
from unit.daemon.scene import request


def full() -> ArmRequest:
    value = secrets.token_bytes(24) + b"\xff\n"
    return request(
        secrets=(Secret("DEPLOY_TOKEN", value, ("deploy.example.test", "nowhere")),),
        job=Job(name="build", fork=True, unguarded=("docs",)),
        cgroup="/sys/fs/cgroup/x",
        worker_pid=4711,
        root_pid=12,
        uplinks=False,
        finish_key="k",
    )


def test_nothing_is_lost_on_the_way() -> None:
    asked = full()
    assert request_from_json(json.loads(json.dumps(request_to_json(asked)))) == asked


def test_a_request_needs_only_a_policy() -> None:
    asked = request_from_json({"policy": "{}"})
    assert asked == ArmRequest(policy=b"{}")
    assert asked.scope == "machine"


@pytest.mark.parametrize(
    "change",
    [
        {"policy": None},
        {"policy": 1},
        {"job": {"nonsense": 1}},
        {"job": []},
        {"secrets": [{}]},
        {"secrets": [{"name": "A", "value": "not base64!"}]},
        {"secrets": [{"name": 1, "value": ""}]},
        {"secrets": 1},
        {"settings": {"worker_pid": "1"}},
        {"settings": {"worker_pid": 1 << 64}},
        {"settings": {"root_pid": -1}},
        {"settings": {"unknown": 1}},
        {"settings": 1},
        {"more": 1},
    ],
)
def test_what_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        request_from_json({**request_to_json(full()), **change})
    assert caught.value.exit_code is ExitCode.USAGE


def test_no_error_shows_a_value() -> None:
    token = secrets.token_hex(16)
    document = request_to_json(full())
    document["secrets"][0]["value"] = f"{token}!"
    with pytest.raises(UsageError) as caught:
        request_from_json(document)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert token not in f"{shown} {shown!r} {vars(shown)}"
        shown = shown.__cause__ or shown.__context__


def test_a_missing_policy_is_named() -> None:
    with pytest.raises(UsageError, match="not understood") as caught:
        request_from_json({})
    assert "policy" in caught.value.why
