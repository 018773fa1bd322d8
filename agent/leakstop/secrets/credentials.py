# SPDX-License-Identifier: MIT
"""Secrets in the files in which tools keep them: small readers, tolerant of what they do not know.

No reader understands its format as a whole. Each looks for the few keys that hold secrets, so
that neither a new version nor a broken file stops it; what is found has to look like a secret
all the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from leakstop.secrets.discovery import MAX_VALUE, MIN_GUESSED, is_random
from leakstop.secrets.formats import recognise
from leakstop.secrets.inventory import Secret

MAX_FILE = 256 * 1024
"""Bytes of a file that are read."""
MAX_FOUND = 32
"""Secrets of one file."""

DIRECTORIES = (
    "",
    ".aws",
    ".azure",
    ".cargo",
    ".composer",
    ".config",
    ".config/composer",
    ".config/containers",
    ".config/gcloud",
    ".config/gh",
    ".config/git",
    ".config/pip",
    ".docker",
    ".gem",
    ".kube",
    ".m2",
    ".pip",
    ".ssh",
    ".terraform.d",
)
"""Where tools keep credentials, below a home."""
WORKSPACE = ("", ".git")
"""The same below a checkout."""

POINTERS = {
    "NPM_CONFIG_USERCONFIG": "npmrc",
    "npm_config_userconfig": "npmrc",
    "PIP_CONFIG_FILE": "pip.conf",
    "NETRC": "netrc",
    "REGISTRY_AUTH_FILE": "auth.json",
    "GIT_CONFIG_GLOBAL": "gitconfig",
    "AWS_SHARED_CREDENTIALS_FILE": "credentials",
    "AWS_CONFIG_FILE": "credentials",
    "GOOGLE_APPLICATION_CREDENTIALS": "gha-creds.json",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": "gha-creds.json",
    "KUBECONFIG": "kubeconfig",
}
"""Variables that name a file, and as what kind of file it is read."""
HOMES = ("DOCKER_CONFIG", "CARGO_HOME", "GH_CONFIG_DIR", "CLOUDSDK_CONFIG", "AZURE_CONFIG_DIR")
"""Variables that name a directory in place of the one below the home."""

_KEY_WORDS = """
_authtoken _auth _password password passwd npmauthtoken npmauthident auth identitytoken
registrytoken aws_secret_access_key aws_session_token secret client_secret clientsecret
refresh_token refreshtoken access_token accesstoken private_key oauth_token token
rubygems_api_key api_key apikey client-key-data secretaccesskey sessiontoken
"""
_KEYS = frozenset(_KEY_WORDS.split())
"""Last words of keys with a secret behind them, in small letters."""

_LONGEST_KEY = 64
_LAST_WORD = re.compile(r"[\w-]+$")
_HEADER = re.compile(
    r"extraheader\s{0,4}=\s{0,4}\"?[\w-]{1,64}:\s{0,4}(\w{1,32})\s{1,4}([^\s\"]+)", re.IGNORECASE
)
_URL = re.compile(
    r"[a-z][a-z0-9+.-]{1,20}://[^\s/@:\"']{0,256}:([^\s/@\"']{1,4096})@", re.IGNORECASE
)
_NETRC = re.compile(r"(?:^|\s)password\s+(\S+)")
_ELEMENT = re.compile(r"<(password|passphrase)>\s*([^<\s]+)\s*</", re.IGNORECASE)
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")


@dataclass(frozen=True, slots=True)
class _Value:
    key: str
    text: str


_Reader = Callable[[str], Iterator[_Value]]


def _lines(text: str) -> Iterator[_Value]:
    """``key = value``, ``key: value``: INI, TOML and YAML as far as secrets are written in them."""
    for line in text.splitlines():
        for separator in "=:":
            before, found, after = line.strip().lstrip("-:\"' ").partition(separator)
            key = _LAST_WORD.search(before[-_LONGEST_KEY:].rstrip("\"' "))
            if found and key and key[0].lower() in _KEYS:
                yield _Value(key[0], after.strip("\"', "))
                break


def _json(text: str) -> Iterator[_Value]:
    try:
        pending: list[tuple[str, object]] = [("", json.loads(text))]
    except (ValueError, RecursionError):
        return
    while pending:
        key, item = pending.pop()
        if isinstance(item, dict):
            pending += item.items()
        elif isinstance(item, list):
            pending += [(key, each) for each in item]
        elif isinstance(item, str) and key.lower() in _KEYS:
            yield _Value(key, item)


def _git(text: str) -> Iterator[_Value]:
    for match in filter(None, (_HEADER.match(line.strip()) for line in text.splitlines())):
        value = _password(match[2]) if match[1].lower() == "basic" else match[2]
        yield _Value("extraheader", value)
    yield from _urls(text)


def _urls(text: str) -> Iterator[_Value]:
    for match in _URL.finditer(text):
        yield _Value("password", unquote(match[1]))


def _netrc(text: str) -> Iterator[_Value]:
    for match in _NETRC.finditer(text):
        yield _Value("password", match[1])


def _elements(text: str) -> Iterator[_Value]:
    for match in _ELEMENT.finditer(text):
        yield _Value(match[1], match[2])


def _keys(text: str) -> Iterator[_Value]:
    begins = _KEY_BEGINS.search(text)
    ends = _KEY_ENDS.search(text, begins.end()) if begins else None
    if begins and ends:
        yield _Value("private key", text[begins.start() : ends.end()])


def _settings(text: str) -> Iterator[_Value]:
    yield from _lines(text)
    yield from _urls(text)


_JSON_FILES = (
    r"(?:config|auth|access_tokens|accessTokens|application_default_credentials|msal_token_cache"
    r"|service_principal_entries|credentials\.tfrc|gha-creds[\w.-]*)\.json"
)
_READERS: tuple[tuple[re.Pattern[str], _Reader], ...] = tuple(
    (re.compile(pattern), reader)
    for pattern, reader in (
        (r"\.?npmrc|\.yarnrc(\.yml)?", _lines),
        (r"\.pypirc|pip\.conf|\.?gem/credentials|\.cargo/credentials(\.toml)?", _settings),
        (r"credentials(\.toml)?", _settings),
        (r"[._]?netrc", _netrc),
        (r"\.git-credentials|\.?git/credentials", _urls),
        (r"\.?gitconfig|\.git/config|\.?git/config", _git),
        (r"\.kube/config|kubeconfig|hosts\.ya?ml|\.aws/config", _lines),
        (r"settings\.xml|settings-security\.xml", _elements),
        (r"\.ssh/(?:id_\w+|\w+\.pem)", _keys),
        (_JSON_FILES, _json),
    )
)
"""By the last part of the path, or the last two."""


def is_credential_file(path: str) -> bool:
    """Whether a file of this path is one that is read."""
    return _reader(path) is not None


def read(path: str, data: bytes, kind: str = "") -> Iterator[Secret]:
    """The secrets in a file, named by the file and the key; ``kind``: read it as such a file."""
    reader = _reader(kind or path)
    if reader is None:
        return
    file = path.rpartition("/")[2]
    found: dict[bytes, None] = {}
    for value in reader(data[:MAX_FILE].decode("utf-8", "replace")):
        raw = _opened(value).strip().encode("utf-8", "replace")
        name = f"{file} {value.key}"
        if raw not in found and _is_secret(value.key, raw):
            found[raw] = None
            yield Secret(name, raw, (), path)
        if len(found) >= MAX_FOUND:
            return


def _reader(path: str) -> _Reader | None:
    parts = path.rsplit("/", 2)
    names = ("/".join(parts[-2:]), parts[-1])
    return next((reader for form, reader in _READERS if any(map(form.fullmatch, names))), None)


def _is_secret(key: str, value: bytes) -> bool:
    if not MIN_GUESSED <= len(value) <= MAX_VALUE:
        return False
    # By its key an AWS secret is known, as it is by its variable's name.
    form = recognise(Secret(key.upper(), value))
    return is_random(value) if form is None or not form.pattern else form.found


def _opened(value: _Value) -> str:
    """What some tools write in base64: ``user:password``, npm's password, a key of kubectl."""
    key = value.key.lower()
    if key in ("auth", "_auth", "npmauthident"):
        return _password(value.text)
    if key in ("_password", "client-key-data"):
        return _decoded(value.text) or value.text
    return value.text


def _password(text: str) -> str:
    """Of ``user:password`` in base64 the password; ``text`` itself if it is something else."""
    _, colon, password = _decoded(text).partition(":")
    return password if colon else text


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


__all__ = [
    "DIRECTORIES",
    "HOMES",
    "MAX_FILE",
    "POINTERS",
    "WORKSPACE",
    "is_credential_file",
    "read",
]
