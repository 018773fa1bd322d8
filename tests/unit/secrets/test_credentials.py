# SPDX-License-Identifier: MIT
"""Secrets in tools' own files. All values are made when the test runs."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable

import pytest

from leakstop.secrets.credentials import MAX_FILE, MAX_FOUND, is_credential_file, read

RANDOM = random.Random(7)
ALNUM = string.ascii_letters + string.digits
HOME = "/home/ci"


def some(length: int = 36) -> str:
    return "".join(RANDOM.choices(ALNUM, k=length))


def basic(password: str, user: str = "x-access-token") -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def values(path: str, text: str, kind: str = "") -> list[str]:
    return [secret.value.decode() for secret in read(path, text.encode(), kind)]


# path below a home, and the file around a secret
FILES: list[tuple[str, Callable[[str], str]]] = [
    (".npmrc", lambda s: f"registry=https://r.test/\n//r.test/:_authToken={s}\nalways-auth=true\n"),
    (".npmrc", lambda s: f"//r.test/:username=ci\n//r.test/:_password={b64(s)}\n"),
    (".npmrc", lambda s: f'//r.test/:_auth="{basic(s)}"\n'),
    (".yarnrc.yml", lambda s: f'npmRegistries:\n  "//r.test":\n    npmAuthToken: "{s}"\n'),
    (
        ".pypirc",
        lambda s: f"[distutils]\nindex-servers = x\n[x]\nusername: __token__\npassword: {s}\n",
    ),
    (".config/pip/pip.conf", lambda s: f"[global]\nindex-url = https://ci:{s}@r.test/simple\n"),
    (".netrc", lambda s: f"machine r.test login ci password {s}\n"),
    (".netrc", lambda s: f"machine r.test\n  login ci\n  password {s}\n"),
    (".docker/config.json", lambda s: json.dumps({"auths": {"r.test": {"auth": basic(s)}}})),
    (".docker/config.json", lambda s: json.dumps({"auths": {"r.test": {"identitytoken": s}}})),
    (".config/containers/auth.json", lambda s: json.dumps({"auths": {"r": {"auth": basic(s)}}})),
    (".git-credentials", lambda s: f"https://x-access-token:{s}@git.test\n"),
    (".config/git/credentials", lambda s: f"https://ci:{s}@git.test\n"),
    (
        "work/.git/config",
        lambda s: f'[http "https://git.test/"]\n\textraheader = AUTHORIZATION: basic {basic(s)}\n',
    ),
    (
        ".gitconfig",
        lambda s: f'[url "https://ci:{s}@git.test/"]\n\tinsteadOf = https://git.test/\n',
    ),
    (
        ".aws/credentials",
        lambda s: f"[default]\naws_access_key_id = x\naws_secret_access_key = {s}\n",
    ),
    (".aws/config", lambda s: f"[profile x]\naws_session_token={s}\nregion = eu-west-1\n"),
    (
        ".config/gcloud/application_default_credentials.json",
        lambda s: json.dumps({"type": "authorized_user", "refresh_token": s, "client_id": "x"}),
    ),
    (".azure/msal_token_cache.json", lambda s: json.dumps({"RefreshToken": {"a": {"secret": s}}})),
    (".kube/config", lambda s: f"users:\n- name: ci\n  user:\n    token: {s}\n"),
    (".config/gh/hosts.yml", lambda s: f"github.test:\n    user: ci\n    oauth_token: {s}\n"),
    (".cargo/credentials.toml", lambda s: f'[registry]\ntoken = "{s}"\n'),
    (".gem/credentials", lambda s: f"---\n:rubygems_api_key: {s}\n"),
    (".m2/settings.xml", lambda s: f"<server><id>x</id><password>{s}</password></server>"),
    (
        ".terraform.d/credentials.tfrc.json",
        lambda s: json.dumps({"credentials": {"a": {"token": s}}}),
    ),
    ("work/gha-creds-0a1b2c3d.json", lambda s: json.dumps({"access_token": s})),
]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("path", "write"), FILES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_the_secret_in_a_file_is_found(path: str, write: Callable[[str], str]) -> None:
    secret = some()
    assert is_credential_file(f"{HOME}/{path}")
    assert values(f"{HOME}/{path}", write(secret)) == [secret]


def test_a_private_key_is_taken_whole_and_a_public_one_not() -> None:
    kind = "OPENSSH PRIVATE KEY-----"
    key = f"-----BEGIN {kind}\n{some(70)}\n{some(70)}\n-----END {kind}"
    assert values(f"{HOME}/.ssh/id_ed25519", f"{key}\n") == [key]
    assert not is_credential_file(f"{HOME}/.ssh/id_ed25519.pub")
    assert not is_credential_file(f"{HOME}/.ssh/known_hosts")
    assert not is_credential_file(f"{HOME}/work/tests/id_rsa"), "a fixture of somebody's tests"
    assert values(f"{HOME}/.ssh/id_rsa", "-----BEGIN RSA PRIVATE KEY-----\nAAAA") == []


def test_what_the_secret_is_called_and_where_it_was() -> None:
    (found,) = read(f"{HOME}/.npmrc", f"//r.test/:_authToken=npm_{some()}".encode())
    assert (found.name, found.source) == (".npmrc _authToken", f"{HOME}/.npmrc")


def test_a_pointed_file_is_read_as_what_it_is() -> None:
    secret = some()
    text = f"//r.test/:_authToken={secret}\n"
    assert values("/tmp/x/user-settings", text) == []
    assert values("/tmp/x/user-settings", text, "npmrc") == [secret]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".npmrc", "//r.test/:_authToken=${NPM_TOKEN}\n"),
        (".npmrc", "cache=/home/ci/.npm\nsave-exact=true\n"),
        (".pypirc", "[x]\nusername = ci\npassword = hunter2\n"),
        (".pypirc", "[x]\nusername = ci\npassword = my-own-devpi-password\n"),
        (".docker/config.json", '{"credsStore": "desktop", "auths": {"r.test": {}}}'),
        (".kube/config", "users:\n- name: ci\n  user:\n    token-file: /var/run/token\n"),
        (".gitconfig", "[user]\n\tname = ci\n\temail = ci@x.test\n"),
        (".aws/config", "[default]\nregion = eu-west-1\noutput = json\n"),
    ],
)
def test_a_file_without_a_secret_has_none(path: str, text: str) -> None:
    assert values(f"{HOME}/{path}", text) == []


@pytest.mark.parametrize(
    "path",
    ["README.md", "package.json", "src/config.py", "tsconfig.json", ".npmrc/x", "credential"],
)
def test_any_other_file_is_not_read(path: str) -> None:
    assert not is_credential_file(f"{HOME}/{path}")
    assert values(f"{HOME}/{path}", f"token = {some()}") == []


def test_the_bounds_of_a_file() -> None:
    many = "".join(f"//r{i}.test/:_authToken={some()}\n" for i in range(MAX_FOUND + 8))
    assert len(values("/.npmrc", many)) == MAX_FOUND
    assert values("/.npmrc", "\n" * MAX_FILE + f"//r.test/:_authToken={some()}") == []


HOSTILE = {
    "spaces": " " * MAX_FILE,
    "line breaks": "\n" * MAX_FILE,
    "a setting and spaces": "token = x" + " " * MAX_FILE + "y",
    "beginnings of keys": "-----BEGIN RSA PRIVATE KEY-----\n" * 8000,
    "beginnings of URLs": "https://a:b" * 20_000,
    "headers": "extraheader = a: basic " * 10_000,
    "brackets": "[" * MAX_FILE,
    "nested objects": '{"token":' * 20_000,
    "elements": "<password>" * 20_000,
    "passwords": "password " * 25_000,
    "colons": ":" * MAX_FILE,
    "surrogates by escapes": '{"auths": {"a.test": {"auth": "\\ud800%s"}}}' % ("A1b2" * 10),
    "a long number": '{"token": ' + "9" * 5000 + "}",
    "lone surrogates and NULs": "\ud800\x00" * 1000,
}
PATHS = [path for path, _ in FILES] + [".ssh/id_rsa"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda name: name.replace(" ", "-"))
def test_a_hostile_file_neither_fails_nor_takes_long(text: str) -> None:
    data = HOSTILE[text].encode("utf-8", "surrogatepass")
    for path in PATHS:
        list(read(f"/{path}", data))


def test_fuzz_no_broken_file_stops_a_reader() -> None:
    random_ = random.Random(3)
    for path, write in FILES * 20:
        data = bytearray(write(some()).encode())
        for _ in range(random_.randrange(1, 8)):
            at = random_.randrange(len(data))
            data[at : at + random_.randrange(3)] = random_.randbytes(random_.randrange(3))
        for secret in read(f"{HOME}/{path}", bytes(data)):
            assert secret.value.strip() == secret.value and secret.source
