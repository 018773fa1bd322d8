# SPDX-License-Identifier: MIT
"""The action's inputs, and what is said when one is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lab import tokens
from leakstop.cli import settings
from leakstop.cli.options import Text
from leakstop.cli.settings import INPUTS, Settings
from leakstop.errors import UsageError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Leak, Mode

ROOT = Path(__file__).resolve().parents[3]


def read(*, environ: dict[str, str] | None = None, **inputs: str) -> Settings:
    """Settings from inputs, written with ``_`` for ``-``."""
    given = {f"INPUT_{name.upper().replace('_', '-')}": value for name, value in inputs.items()}
    found = settings.read_inputs({**(environ or {}), **given})
    return settings.read_settings(found, environ or {})


def refused(**inputs: str) -> str:
    """The message for inputs that are wrong."""
    with pytest.raises(UsageError) as caught:
        read(**inputs)
    return str(caught.value)


def test_without_inputs_nothing_is_asked_for() -> None:
    found = read()
    assert (found.wish.mode, found.wish.leak, found.wish.fail_on) == (None, None, None)
    assert (found.wish.policies, found.wish.allow, found.wish.secrets) == ((), (), ())
    assert found.detail == "auto"


def test_each_input_is_read() -> None:
    found = read(
        policy=".github/leakstop.yml",
        mode="block",
        allow="github python",
        fail_on=" critical ",
        leak="warn",
        summary="full",
    )
    assert found.wish.policies == (Text(".github/leakstop.yml"),)
    assert found.wish.allow == (Text("input `allow`", "github python"),)
    assert (found.wish.mode, found.wish.leak) == (Mode.BLOCK, Leak.WARN)
    assert (found.wish.fail_on, found.detail) == (Severity.CRITICAL, "full")


def test_a_text_with_a_line_break_is_the_policy_itself() -> None:
    text = "version: 1\nmode: block\n"
    assert read(policy=text).wish.policies == (Text("input `policy`", text),)


@pytest.mark.parametrize("text", ["version: 1", "{version: 1, mode: block}", "mode: block\n"])
def test_a_policy_on_one_line_is_not_taken_for_a_path(text: str) -> None:
    assert "`policy: |`" in refused(policy=text)


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_a_blank_input_is_no_input(blank: str) -> None:
    found = read(policy=blank, allow=blank, mode=blank, secrets=blank, summary=blank)
    assert found == read()


def test_an_unknown_input_is_named_with_what_was_meant() -> None:
    assert "no input `fail_on`" in refused_variable("INPUT_FAIL_ON")
    assert "did you mean `fail-on`?" in refused_variable("INPUT_FAIL_ON")
    assert "the inputs are policy, mode, allow" in refused_variable("INPUT_ZZZ")


def refused_variable(name: str) -> str:
    """The message for a variable that is no input of ours."""
    with pytest.raises(UsageError) as caught:
        settings.read_inputs({name: "x"})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("mode", "blok", "did you mean `block`?"),
        ("mode", "Audit", "did you mean `audit`?"),
        ("leak", "stop", "one of kill, fail, warn"),
        ("fail_on", "info", "low, medium, high, critical"),
        ("summary", "short", "one of auto, full, off"),
    ],
)
def test_an_unknown_value_is_named_with_those_there_are(name: str, value: str, cure: str) -> None:
    message = refused(**{name: value})
    assert f"`{value}`" in message or f": {value}`" in message
    assert cure in message


def test_the_job_s_token_is_watched_without_being_asked() -> None:
    token = tokens.github("GITHUB_TOKEN")
    key = tokens.npm()
    found = read(token=token.value, secrets=f"NPM_TOKEN={key.value}").wish.secrets
    assert [secret.name for secret in found] == ["GITHUB_TOKEN", "NPM_TOKEN"]
    assert found[0].home == (), "its format says where it belongs"


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "MY_TOKEN"])
def test_a_token_that_is_declared_is_watched_once(name: str) -> None:
    token = tokens.github().value
    found = read(token=token, secrets=f"{name}@github={token}").wish.secrets
    assert [(secret.name, secret.home) for secret in found] == [(name, ("github",))]


@pytest.mark.parametrize("token", ["", "short", "xxxxxxxxxxxx"])
def test_a_token_that_cannot_be_one_is_left_out(token: str) -> None:
    assert read(token=token).wish.secrets == ()


def test_the_token_of_another_server_belongs_there() -> None:
    environ = {
        "GITHUB_SERVER_URL": "https://git.example.test",
        "GITHUB_API_URL": "https://git.example.test:8443/api/v3",
        "GITHUB_GRAPHQL_URL": "https://git.example.test/api/graphql",
    }
    (secret,) = read(environ=environ, token=tokens.github().value).wish.secrets
    assert secret.home == ("git.example.test:443", "git.example.test:8443")


def test_a_fingerprint_tells_inputs_apart_and_says_nothing_else() -> None:
    token = tokens.npm()
    inputs = settings.read_inputs({"INPUT_SECRETS": f"A={token.value}"})
    mark = settings.fingerprint(inputs, "key")
    assert mark == settings.fingerprint(dict(inputs), "key")
    assert mark != settings.fingerprint(inputs, "other key")
    assert mark != settings.fingerprint({**inputs, "mode": "block"}, "key")
    assert token.value not in mark


@pytest.mark.parametrize("file", ["action.yml", "agent/hook/action.yml"])
def test_the_action_has_these_inputs_and_passes_them_on(file: str) -> None:
    action = yaml.safe_load((ROOT / file).read_text())
    assert tuple(action["inputs"]) == INPUTS
    if action["runs"]["using"] == "composite":
        (step,) = action["runs"]["steps"]
        assert step["with"] == {name: f"${{{{ inputs.{name} }}}}" for name in INPUTS}
        assert set(action["outputs"]) == {"verdict", "findings", "report"}
    described = [entry["description"] for entry in action["inputs"].values()]
    assert "${{" not in json.dumps(described), "the runner would evaluate it"


def test_the_runner_s_own_tokens_belong_to_its_service() -> None:
    runtime, other = tokens.home_made().value, tokens.home_made().value
    environ = {
        "ACTIONS_RUNTIME_TOKEN": runtime,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": other,
        "ACTIONS_RESULTS_URL": "https://results.service.test/",
        "ACTIONS_RUNTIME_URL": "https://pipelines.service.test:8443/abc/",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://pipelines.service.test:8443/abc/oidc?v=2",
    }
    found = {secret.name: secret for secret in read(environ=environ).wish.secrets}
    assert list(found) == ["ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    home = ("pipelines.service.test:8443", "results.service.test:443")
    assert {secret.home for secret in found.values()} == {home}
    assert found["ACTIONS_RUNTIME_TOKEN"].value == runtime.encode()


def test_one_value_under_two_names_of_the_runner_counts_once() -> None:
    value = tokens.home_made().value
    environ = dict.fromkeys(settings._RUNTIME_TOKENS, value)
    assert [secret.name for secret in read(environ=environ).wish.secrets] == [
        "ACTIONS_RUNTIME_TOKEN"
    ]
    declared = read(environ=environ, secrets=f"MINE@one.test={value}").wish.secrets
    assert [(secret.name, secret.home) for secret in declared] == [("MINE", ("one.test",))]


@pytest.mark.parametrize(("text", "planted"), [("true", True), ("false", False), ("", False)])
def test_canaries_are_asked_for(text: str, planted: bool) -> None:
    assert read(canaries=text).canaries is planted


def test_canaries_are_true_or_false() -> None:
    assert "`canaries: yes` is not known" in refused(canaries="yes")
