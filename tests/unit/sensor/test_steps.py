# SPDX-License-Identifier: MIT
"""Names of steps, from environments and arguments as the runner makes them."""

from __future__ import annotations

import pytest

from leakstop.sensor.steps import step_label, step_names

SCRIPT = b"/home/runner/work/_temp/0f0e0d0c-1111-2222-3333-444455556666.sh"
ACT = "/home/runner/.cache/act/0123456789abcdef/act/workflow/"
ACTION = b"/home/runner/work/_actions/acme/upload-thing/v4/dist/index.js"


@pytest.mark.parametrize(
    ("environ", "argv", "expected"),
    [
        ({"GITHUB_ACTION": "__run"}, [], "run"),
        ({"GITHUB_ACTION": "__run_2"}, [], "run 2"),
        ({"GITHUB_ACTION": "upload_docs_2"}, [], "upload_docs_2"),
        ({"GITHUB_ACTION": "0"}, [], "step 0"),
        (
            {
                "GITHUB_ACTION": "__acme_upload-thing",
                "GITHUB_ACTION_REPOSITORY": "acme/upload-thing",
            },
            [],
            "acme/upload-thing",
        ),
        (
            {"GITHUB_ACTION": "__acme_thing_3", "GITHUB_ACTION_REPOSITORY": "acme/thing"},
            [],
            "acme/thing 3",
        ),
        # Inside a composite the repository is the inner action's; the step is the outer one.
        (
            {"GITHUB_ACTION": "__acme_outer", "GITHUB_ACTION_REPOSITORY": "acme/inner"},
            [],
            "acme_outer",
        ),
        ({"GITHUB_ACTION_REPOSITORY": "acme/thing"}, [], "acme/thing"),
        ({}, [b"/usr/bin/bash", b"-e", SCRIPT], "run"),
        ({}, [b"bash", b"-e", f"{ACT}collect.sh".encode()], "collect"),
        ({}, [b"bash", b"-e", f"{ACT}2.sh".encode()], "step 2"),
        ({}, [b"bash", b"-e", f"{ACT}wrap-composite-1-composite-0.sh".encode()], "wrap"),
        ({}, [b"node24", ACTION], "acme/upload-thing"),
        ({}, [b"/usr/bin/bash", b"other.sh"], ""),
        ({}, [], ""),
        ({"GITHUB_ACTION": "a\x1b[31mb\nc"}, [], "a?[31mb?c"),
        ({"GITHUB_ACTION": "x" * 500}, [], "x" * 100),
    ],
)
def test_step_label(environ, argv, expected):
    block = b"".join(f"{name}={value}\0".encode() for name, value in environ.items())
    assert step_label(block, argv) == expected


@pytest.mark.parametrize(
    ("action", "repository", "expected"),
    [
        ("upload_docs_2", "", ("upload_docs_2",)),
        ("docs", "acme/thing", ("docs", "acme/thing")),
        ("__acme_thing_3", "acme/thing", ("acme/thing",)),
        ("__acme_outer", "acme/inner", ()),
        ("__run_2", "", ()),
        # act counts the steps that have no id.
        ("0", "", ()),
        ("1", "acme/thing", ("acme/thing",)),
    ],
)
def test_what_a_rule_may_call_a_step(action, repository, expected):
    values = {"GITHUB_ACTION": action, "GITHUB_ACTION_REPOSITORY": repository}
    block = b"".join(f"{name}={value}\0".encode() for name, value in values.items())
    assert step_names(block) == expected
