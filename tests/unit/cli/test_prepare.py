# SPDX-License-Identifier: MIT
"""From files and flags to a policy: who reads, who asks, and what wins."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import pytest

from leakstop.cli import main as entry
from leakstop.cli import prepare, registry_tokens
from leakstop.cli.options import Text, Wish
from leakstop.errors import ExitCode, LeakstopError, PolicyError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Leak, Mode
from leakstop.policy.canonical import from_canonical
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.inventory import Secret

POLICY = "version: 1\nmode: audit\nallow:\n  - api.example.test\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that the one who reads policies may look into."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and not directory.stat().st_mode & 0o001:
            directory.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepared(wish: Wish) -> Policy:
    return from_canonical(prepare.prepare(wish).policy)


def hosts(policy: Policy) -> list[str]:
    return [rule.ref.text for rule in policy.rules if rule.ref.source != "built in"]


def test_a_file_becomes_a_policy(folder: Path) -> None:
    (folder / "ci.yml").write_text(POLICY)
    policy = prepared(Wish(policies=(Text("ci.yml"),)))
    assert policy.mode is Mode.AUDIT
    assert hosts(policy) == ["api.example.test"]
    assert policy.sources == ("ci.yml",)
    assert policy.digest.startswith("sha256:")


def test_files_add_up_and_flags_win(folder: Path) -> None:
    (folder / "a.yml").write_text(POLICY)
    (folder / "b.yml").write_text("version: 1\nmode: block\nallow: b.example.test\n")
    wish = Wish(
        policies=(Text("a.yml"), Text("b.yml")),
        allow=(Text("--allow", "c.example.test:8443"),),
        leak=Leak.WARN,
        fail_on=Severity.LOW,
        on_unsupported="audit",
    )
    policy = prepared(wish)
    assert hosts(policy) == ["api.example.test", "b.example.test", "c.example.test:8443"]
    assert (policy.mode, policy.leak, policy.fail_on) == (Mode.BLOCK, Leak.WARN, Severity.LOW)
    assert policy.on_unsupported == "audit"
    assert prepared(Wish(policies=(Text("b.yml"),), mode=Mode.AUDIT)).mode is Mode.AUDIT


def test_a_policy_may_be_the_text_itself() -> None:
    assert hosts(prepared(Wish(policies=(Text("input `policy`", POLICY),)))) == ["api.example.test"]


def test_without_a_policy_everything_is_watched() -> None:
    policy = prepared(Wish())
    assert policy.mode is Mode.AUDIT
    assert policy.leak is Leak.KILL
    assert hosts(policy) == []


def test_an_empty_allow_list_in_block_mode_is_warned_of() -> None:
    warnings = prepare.prepare(Wish(mode=Mode.BLOCK)).warnings
    assert any("nothing is allowed" in warning for warning in warnings)


def test_secrets_are_placed_by_the_input_and_their_values_stay_here() -> None:
    value = secrets.token_hex(20)
    secret = Secret("DEPLOY_TOKEN", value.encode(), ("deploy.example.test",))
    result = prepare.prepare(Wish(secrets=(secret,)))
    home = from_canonical(result.policy).homes["DEPLOY_TOKEN"]
    assert (home.text, home.placed_by) == (("deploy.example.test",), "input")
    assert value.encode() not in result.policy


def test_a_broken_policy_shows_its_place_and_its_cure(folder: Path) -> None:
    (folder / "ci.yml").write_text("version: 1\nmode: enforce\n")
    with pytest.raises(LeakstopError) as caught:
        prepare.prepare(Wish(policies=(Text("ci.yml"),)))
    assert caught.value.exit_code is ExitCode.POLICY
    assert str(caught.value).startswith("ci.yml:2:7: error: `mode: enforce` is not known")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_policy_that_cannot_be_read_ends_it(folder: Path, make: Any) -> None:
    make(folder / "ci.yml")
    with pytest.raises(LeakstopError, match=r"ci\.yml") as caught:
        prepare.prepare(Wish(policies=(Text("ci.yml"),)))
    assert caught.value.exit_code is ExitCode.POLICY


@pytest.mark.root
def test_a_policy_for_roots_eyes_only_is_refused_with_the_reason(folder: Path) -> None:
    (folder / "ci.yml").write_text(POLICY)
    (folder / "ci.yml").chmod(0o600)
    with pytest.raises(LeakstopError, match="Permission denied") as caught:
        prepare.prepare(Wish(policies=(Text("ci.yml"),)))
    assert "without root's rights" in caught.value.why
    assert caught.value.exit_code is ExitCode.POLICY


def test_package_managers_are_asked_only_when_a_policy_names_one() -> None:
    asked: list[object] = []

    def ask(managers: object) -> object:
        asked.append(managers)
        return {
            "destinations": {"registry:pip": ["https://index.example.test:8443"]},
            "notes": ["pip said little."],
        }

    wish = Wish(policies=(Text("p", POLICY),))
    prepare.build(wish, ask)
    assert asked == []
    wish = Wish(policies=(Text("p", "version: 1\nallow: registry:pip\n"),))
    built = prepare.build(wish, ask)
    assert asked == [["registry:pip"]]
    assert hosts(built.policy) == ["https://index.example.test:8443"]
    assert built.warnings[0] == "leakstop: pip said little."


def test_the_package_managers_are_asked_by_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.getpid()

    def answer(managers: list[str]) -> object:
        assert os.getpid() == me
        found = {key: [] for key in managers} | {"registry:npm": ["https://npm.example.test"]}
        return {"destinations": found, "notes": []}

    monkeypatch.setattr(prepare, "answer", answer)
    policy = prepared(Wish(policies=(Text("p", "version: 1\nallow: registry:npm\n"),)))
    assert hosts(policy) == ["https://npm.example.test"]


def test_homes_for_secrets_that_may_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of indexes that are not here none, and nobody is told: nobody wrote those words."""

    def answer(managers: list[str]) -> object:
        found = {key: [] for key in managers} | {"publish:npm": ["https://npm.example.test"]}
        return {"destinations": found, "notes": ["pip is not installed here."]}

    monkeypatch.setattr(prepare, "answer", answer)
    done = prepare.prepare(Wish())
    homes = from_canonical(done.policy).format_homes
    assert done.warnings == ()
    assert {"github", "nowhere", "registry:npm publish:npm"} <= homes.keys()
    assert "publish:pip" not in homes
    assert homes["nowhere"].nowhere and not homes["github"].nowhere
    assert len(compile_tables(from_canonical(done.policy)).conditions) <= 32


@pytest.mark.parametrize("where", ["", "variable", "file", "pointed"])
def test_one_command_asks_only_about_tokens_that_are_here(
    where: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "npm_" + secrets.token_hex(18)
    monkeypatch.setenv("HOME", str(folder))
    if where == "variable":
        monkeypatch.setenv("WHATEVER", f"//registry.test/:_authToken={token}")
    elif where:
        (folder / ".npmrc").write_text(f"//registry.test/:_authToken={token}\n")
    if where == "pointed":
        (folder / ".npmrc").rename(folder / "settings")
        monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(folder / "settings"))
    asked: list[list[str]] = []

    def answer(managers: list[str]) -> object:
        asked.append(managers)
        found = {key: ["https://npm.example.test"] for key in managers}
        return {"destinations": found, "notes": []}

    monkeypatch.setattr(prepare, "answer", answer)
    done = prepare.prepare(Wish(), one_command=True)
    homes = from_canonical(done.policy).format_homes.keys()
    assert asked == ([["publish:npm", "registry:npm"]] if where else [])
    assert ("registry:npm publish:npm" in homes) is bool(where)
    assert {"github", "nowhere"} <= homes


def test_what_is_no_file_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    os.mkfifo(folder / ".npmrc")
    (folder / ".pypirc").mkdir()
    assert b"npm_" not in registry_tokens.places({"HOME": str(folder)})


def test_a_note_about_what_somebody_wrote_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(managers: list[str]) -> object:
        notes = ["pip is not installed here.", "npm is not installed here."]
        return {"destinations": {key: [] for key in managers}, "notes": notes}

    monkeypatch.setattr(prepare, "answer", answer)
    done = prepare.prepare(Wish(policies=(Text("p", "version: 1\nallow: registry:npm\n"),)))
    assert "leakstop: npm is not installed here." in done.warnings
    assert not [warning for warning in done.warnings if "pip" in warning]


def test_the_presets_come_with_the_release() -> None:
    assert {"runner", "github", "python", "node", "debian"} <= set(prepare.preset_texts())


def test_an_installation_without_presets_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(prepare, "_CHECKOUT", tmp_path)
    # Past the cache, which other tests fill.
    with pytest.raises(LeakstopError, match="presets are missing"):
        prepare.preset_texts.__wrapped__()


def test_only_root_may_read_is_an_error_of_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PolicyError, match="Permission denied"):
        prepare.read("ci.yml")


def test_the_internal_command_prints_the_document(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from leakstop.daemon.request import request_from_json

    value = secrets.token_hex(20)
    monkeypatch.setenv("DEPLOY_TOKEN", value)
    (folder / "ci.yml").write_text(POLICY)
    argv = ["prepare", "--policy", "ci.yml", "--secret", "DEPLOY_TOKEN", "--secret", "DEPLOY_TOKEN"]
    assert entry.main(argv) == 0
    request = request_from_json(json.loads(capsys.readouterr().out))
    assert hosts(from_canonical(request.policy)) == ["api.example.test"]
    assert [(secret.name, secret.value) for secret in request.secrets] == [
        ("DEPLOY_TOKEN", value.encode())
    ]


def test_a_secret_that_is_not_set_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["prepare", "--secret", "NOT_SET_ANYWHERE"]) == ExitCode.USAGE
    assert "NOT_SET_ANYWHERE is not set" in capsys.readouterr().err
