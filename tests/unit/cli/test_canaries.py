# SPDX-License-Identifier: MIT
"""Canaries: of valid form, in nobody's way, and gone in the end."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import pytest

from leakstop.cli import canaries
from leakstop.cli.confined import Identity
from leakstop.model.report import CANARY
from leakstop.secrets import credentials, formats
from leakstop.secrets.canaries import VARIABLES, make
from leakstop.secrets.checksums import crc32_base62

PLACES = {".aws/credentials", ".npmrc", ".git-credentials"}


@pytest.fixture
def user(tmp_path: Path) -> Identity:
    return Identity(os.geteuid(), os.getegid(), "", str(tmp_path))


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def test_each_has_the_form_of_a_real_one() -> None:
    made = {secret.name: secret for each in make(secrets.randbelow) for secret in each.secrets}
    kinds = {name: form.kind for name in made if (form := formats.recognise(made[name]))}
    assert kinds == {
        "CANARY_AWS_ACCESS_KEY_ID": "AWS access key id",
        "CANARY_AWS_SECRET_ACCESS_KEY": "AWS secret access key",
        "CANARY_NPM_TOKEN": "npm token",
        "CANARY_GIT_TOKEN": "GitHub personal access token",
    }
    for name in ("CANARY_NPM_TOKEN", "CANARY_GIT_TOKEN"):
        assert crc32_base62(made[name].value.decode()), "its checksum holds"
    assert {(secret.home, secret.source) for secret in made.values()} == {(("nowhere",), CANARY)}
    assert len({secret.value for secret in made.values()}) == 5


def test_two_jobs_have_none_in_common() -> None:
    one, two = (
        {secret.value for each in make(secrets.randbelow) for secret in each.secrets}
        for _ in range(2)
    )
    assert not one & two


def test_tools_read_them_where_they_are(tmp_path: Path, user: Identity) -> None:
    planted = canaries.plant(user, ())
    assert files(tmp_path) == PLACES
    known = {secret.value for secret in planted.secrets}
    for place in PLACES:
        path = tmp_path / place
        assert path.stat().st_mode & 0o777 == 0o600
        found = list(credentials.read(str(path), path.read_bytes()))
        assert found and {secret.value for secret in found} <= known
    assert planted.environment is not None
    ((name, value),) = planted.environment.items()
    assert name == VARIABLES[0] and value.encode() in known
    canaries.remove(user, planted.to_text())
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_touched(tmp_path: Path, user: Identity) -> None:
    (tmp_path / ".npmrc").write_text("mine")
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / ".git-credentials").symlink_to("elsewhere")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\n")
    planted = canaries.plant(user, VARIABLES[:1])
    names = {secret.name for secret in planted.secrets}
    assert names == {
        "CANARY_AWS_ACCESS_KEY_ID",
        "CANARY_AWS_SECRET_ACCESS_KEY",
        "CANARY_VARIABLE",
    }
    assert planted.environment is not None and list(planted.environment) == [VARIABLES[1]]
    canaries.remove(user, planted.to_text())
    assert files(tmp_path) == {".npmrc", ".aws/config", ".git-credentials", "elsewhere"}
    assert (tmp_path / ".npmrc").read_text() == "mine"
    assert (tmp_path / "elsewhere").read_text() == ""


def test_what_a_tool_has_added_stays(tmp_path: Path, user: Identity) -> None:
    planted = canaries.plant(user, ())
    with (tmp_path / ".npmrc").open("a") as file:
        file.write("save-exact=true\n")
    (tmp_path / ".git-credentials").write_text("somebody's own\n")
    canaries.remove(user, planted.to_text())
    assert files(tmp_path) == {".npmrc", ".git-credentials"}
    assert (tmp_path / ".npmrc").read_text() == "save-exact=true\n"
    assert (tmp_path / ".git-credentials").read_text() == "somebody's own\n"


def test_without_a_free_name_there_is_no_variable(user: Identity) -> None:
    planted = canaries.plant(user, VARIABLES)
    assert planted.environment == {}
    assert "CANARY_VARIABLE" not in {secret.name for secret in planted.secrets}


@pytest.mark.parametrize("text", ["", "{}", "nonsense", "[]", json.dumps({"/nowhere/x": "y"})])
def test_nothing_to_remove_is_no_error(user: Identity, text: str) -> None:
    canaries.remove(user, text)
