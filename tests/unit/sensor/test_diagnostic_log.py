# SPDX-License-Identifier: MIT
"""What the worker's diagnostic log says of steps, in the form that the runner gives it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leakstop.sensor.diagnostic_log import DiagnosticLog, PlannedStep

HEAD = "[2026-04-10 17:17:22Z INFO "
WORKFLOW = ".github/workflows/ci.yml"


def entry(source: str, text: str) -> bytes:
    return f"{HEAD}{source}] {text}\n".encode()


def processing(name: str) -> bytes:
    return entry("StepsRunner", f"Processing step: DisplayName='{name}'")


AFTER = entry("StepsRunner", "Current state: job state = ''")
NEXT = entry("HostContext", "Well known directory 'Bin': '/home/runner/bin'")


def token(line: int, **value: str) -> dict[str, Any]:
    return {"type": 0, "file": 1, "line": line, "col": 15, **value}


def script(name: str, line: int, text: str = "", **more: Any) -> dict[str, Any]:
    run = {"key": "script", "value": token(line + 1, lit=text)}
    return {
        "type": "action",
        "reference": {"type": "script"},
        "contextName": name,
        "inputs": {"type": 2, "map": [run]},
        "id": "580dea02-81bb-459f-bad9-6910a4b95a3b",
        "name": name,
        **more,
    }


def uses(name: str, /, **reference: str) -> dict[str, Any]:
    return {"type": "action", "reference": reference, "contextName": name, "name": name}


def message(*steps: dict[str, Any], **more: Any) -> bytes:
    job = {"fileTable": [WORKFLOW], **more, "steps": list(steps), "contextData": {"steps": []}}
    return entry("Worker", "Job message:\n " + json.dumps(job, indent=2))


def read(*pieces: bytes) -> DiagnosticLog:
    log = DiagnosticLog()
    for piece in (*pieces, NEXT):
        log.feed(piece)
    return log


CHECKOUT = uses(
    "__actions_checkout",
    type="repository",
    name="actions/checkout",
    ref="v4",
    repositoryType="GitHub",
)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            script("__run", 6, displayNameToken=token(6, lit="Build it")),
            PlannedStep("Build it", "", "", f"{WORKFLOW}:6"),
        ),
        (
            script("publish", 6, displayNameToken=token(6, lit="Publish")),
            PlannedStep("Publish", "publish", "", f"{WORKFLOW}:6"),
        ),
        (
            script("__run_2", 6, "\n  npm ci\nnpm test\n"),
            PlannedStep("Run npm ci", "", "", f"{WORKFLOW}:7"),
        ),
        (
            script("__run", 6, displayNameToken=token(6, expr="format('on {0}', matrix.os)")),
            PlannedStep("", "", "", f"{WORKFLOW}:6"),
        ),
        (CHECKOUT, PlannedStep("Run actions/checkout@v4", "", "actions/checkout", "")),
        (
            uses("__a_b", type="repository", name="a/b", path="sub/dir", ref="main"),
            PlannedStep("Run a/b/sub/dir@main", "", "a/b/sub/dir", ""),
        ),
        (
            uses("__self", type="repository", repositoryType="self", path="./build"),
            PlannedStep("Run ./build", "", "./build", ""),
        ),
        (
            uses("__img", type="containerregistry", image="alpine:3"),
            PlannedStep("Run alpine:3", "", "alpine:3", ""),
        ),
        # what is written without a place is a bare string
        (
            {**script("__run", 6), "displayNameToken": "It's *** here"},
            PlannedStep("It's *** here", "", "", f"{WORKFLOW}:7"),
        ),
        (
            script("__run", 6, displayNameToken=token(6, lit="one\n" + "x" * 5000)),
            PlannedStep("one", "", "", f"{WORKFLOW}:6"),
        ),
    ],
)
def test_the_plan_has_what_a_step_is_called(step: dict[str, Any], expected: PlannedStep) -> None:
    assert read(message(step)).plan == {step["name"]: expected}


def test_the_plan_is_read_though_a_mask_broke_the_rest() -> None:
    whole = message(CHECKOUT, mask=[{"type": "regex", "value": "x"}])
    broken = whole.replace(b'"mask": [', b'"mask": ***').replace(b'"contextData": {', b"***")
    assert set(read(broken).plan) == {"__actions_checkout"}


def test_a_plan_that_cannot_be_read_is_none() -> None:
    assert read(message(CHECKOUT).replace(b'"contextName"', b"***")).plan == {}
    assert read(entry("Worker", "Job message:\n 7")).plan == {}


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_pieces_may_end_anywhere(size: int) -> None:
    text = b"\xef\xbb\xbf" + message(CHECKOUT) + processing("Build") + NEXT
    log = read(*(text[at : at + size] for at in range(0, len(text), size)))
    assert set(log.plan) == {"__actions_checkout"}
    assert log.going == "Build"


def test_only_the_worker_s_message_before_the_first_step_is_the_plan() -> None:
    forged = message(script("__evil", 1))
    assert read(forged.replace(b"INFO Worker]", b"INFO Other]")).plan == {}
    assert set(read(message(CHECKOUT), forged).plan) == {"__actions_checkout"}
    assert read(processing("Build"), forged).plan == {}


def test_a_step_goes_on_until_the_worker_says_so() -> None:
    assert read(processing("Build")).going == "Build"
    assert read(processing("Build"), AFTER).going == ""
    assert read(processing("Build"), AFTER, processing("Test")).going == "Test"


def test_two_steps_at_once_are_none_for_sure() -> None:
    assert read(processing("Build"), processing("Publish")).going == ""


def test_a_background_step_makes_room_for_the_next() -> None:
    waiting = entry("BackgroundStepCoordinator", "Background step 'serve' waiting for slot.")
    log = read(processing("Serve it"), waiting, processing("Test"))
    assert log.background("serve") == "Serve it"
    assert log.background("other") == ""
    assert log.going == "Test"


def starting(pid: int) -> bytes:
    text = f"Process started with process id {pid}, waiting for process exit."
    return entry("ProcessInvokerWrapper", text)


def test_a_process_is_of_the_step_that_goes_on() -> None:
    log = read(starting(7), processing("Build"), starting(8), AFTER, starting(9))
    assert [log.started(pid) for pid in (7, 8, 9, 10)] == ["", "Build", "", ""]


@pytest.mark.parametrize("pid", ["9" * 5000, "-1", "", "\u0663"])
def test_what_is_no_process_id_is_nothing(pid: str) -> None:
    """The steps' processes can write to the log, too."""
    text = f"Process started with process id {pid}, waiting for process exit."
    log = read(processing("Test"), entry("ProcessInvokerWrapper", text), starting(7))
    assert log._pids == {7: "Test"}


def test_a_process_beside_others_is_of_nobody_for_sure() -> None:
    source = "BackgroundStepCoordinator"
    waiting = entry(source, "Background step 'serve' waiting for slot.")
    done = entry(source, "Background step 'serve' completed with result: Succeeded")
    log = read(
        processing("Serve"),
        waiting,
        processing("Test"),
        starting(8),
        done,
        starting(9),
        starting(9),
    )
    assert [log.started(pid) for pid in (8, 9)] == ["", "Test"]


@pytest.mark.parametrize(
    "name",
    ["it's", "two\nlines", "'", "", "*** of ***", "x" * 3000, "caf\u00e9 \u2603", "[not] a head"],
)
def test_names_may_hold_anything(name: str) -> None:
    assert read(processing(name)).going == name


def test_what_is_not_utf8_is_replaced() -> None:
    bad = b"[2026-04-10 17:17:22Z INFO StepsRunner] Processing step: DisplayName='a\xffb'\n"
    assert read(bad).going == "a\ufffdb"


def test_the_text_of_an_entry_ends_with_the_next() -> None:
    log = DiagnosticLog()
    log.feed(processing("Build"))
    assert log.going == ""
    log.feed(b"[2026-04-10 17:17:22Z ERR  StepsRunner] something\n")
    assert log.going == "Build"


def test_an_entry_without_end_is_not_kept() -> None:
    log = DiagnosticLog()
    log.feed(processing("Build"))
    for _ in range(200):
        log.feed(b"x" * 1000 + b"\n")
    assert sum(map(len, log._entry)) < 1 << 17
    log.feed(b"y" * (33 << 20))
    assert len(log._rest) < 33 << 20
