# SPDX-License-Identifier: MIT
"""Secrets that nobody declared, in a process's environment.

A variable is taken if its value has a known format, whatever it is called; or if its name says
that it is a secret and its value is long and random. The second is a guess, and a wrong one must
not stop a build: what is neither is left alone, and a guess is judged more mildly
(``carriage.judge``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from leakstop.secrets.catalogue import FORMATS
from leakstop.secrets.inventory import Secret
from leakstop.secrets.shape import is_placeholder

MIN_GUESSED = 16
"""Bytes of a value of no known format: the shortest that services hand out."""
MAX_VALUE = 64 * 1024
"""GitHub's own limit is 48 KiB."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAMED = _words(
    """
    TOKEN TOKENS SECRET SECRETS PASSWORD PASSWD PASSPHRASE PAT APIKEY CREDENTIAL CREDENTIALS BEARER
    """
)
"""Words that say it aloud."""
_ENDINGS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY")
"""The same where words are run together: ``NPMTOKEN``."""
_KEY = "KEY"
"""Says less: caches and sort orders have keys, and so has whoever signed a release."""
_NO_SECRET = _words(
    """
    PUBLIC PUB CACHE CACHED RESTORE SORT PRIMARY FOREIGN GPG PGP HOST
    """
)
"""Words of names of public keys and of keys that open nothing."""
_ABOUT = _words(
    """
    ID IDS PATH PATHS FILE FILES DIR URL URI HOST HOSTS NAME NAMES USER USERNAME TYPE FORMAT VERSION
    COUNT SIZE LENGTH LIMIT LIMITS TTL EXPIRY EXPIRES EXPIRATION ENDPOINT SCOPE SCOPES AUDIENCE
    ISSUER ARN REGION PREFIX SUFFIX FINGERPRINT HASH DIGEST SHA CHECKSUM ENABLED REQUIRED MODE
    PROVIDER ALGORITHM ALG MANAGER STORE HELPER SOCK SERVER ALIAS LABEL
    """
)
"""Last words of a name that is about a secret and holds none: ``TOKEN_URL``, ``KEY_ID``."""

_WORDS = re.compile(r"[A-Z]+[0-9]*(?![a-z])|[A-Z]?[a-z]+[0-9]*|[0-9]+")
_VISIBLE = re.compile(r"[!-~]+")
_HEX = re.compile(r"(?:0x)?(?:[0-9a-f]+|[0-9A-F]+)")
_UUID = re.compile(r"\{?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?", re.IGNORECASE)
_ORDINARY = re.compile(
    r"""
    [/~$%{\[<(].*                       # a path, a reference, a document
    | \.{1,2}/.* | [A-Za-z]:[\\/].*
    | .*://.*                           # a URL (with a password in it: of a format, or nothing)
    | v?\d+(?:\.\d+)+\S*                # a version, a date, an address
    | sha\d+[:-].* | SHA\d+:.*          # a digest
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+      # somebody's address
    | .*[,;|].* | .*=[^=].*             # a list, settings
    """,
    re.VERBOSE | re.DOTALL,
)
_SEPARATORS = re.compile(r"[-_./:+~]+")
_WORD_LIKE = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}")
_LONG_HEX = re.compile(r"[0-9a-fA-F]{7,}")

_MIN_VARIETY = 8
"""Different characters; 16 random ones of a token have 12 or more, hexadecimal ones 9."""
_CHANGES_PER_CHARACTER = 0.2
"""How often a random text goes from letters to digits or from small letters to capitals.

Of base64 it is 0.65, of hexadecimal 0.47, of base32 0.3; a word has none, a word with a year
behind it one, and CamelCase, in which a capital begins a word, 0.17."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_FORMATS = tuple(form for form in FORMATS if form.found or form.public)


def find_in_variable(entry: bytes) -> Secret | None:
    """The secret in ``NAME=value``, if there is one.

    A whole URL with a password in it is not taken: it belongs at a host that no compiled policy
    has, so its own use could not be told from a theft.
    """
    raw, _, value = entry.partition(b"=")
    value = value.strip()
    if not MIN_GUESSED <= len(value) <= MAX_VALUE:
        return None
    name = raw.decode("utf-8", "replace")
    return Secret(name, value) if _NAME.fullmatch(name) and is_secret(name, value) else None


def is_secret(name: str, value: bytes) -> bool:
    """Whether a value that goes by ``name`` is one, by its format or as a guess."""
    secret = Secret(name, value)
    form = next((form for form in _FORMATS if form.matches(secret)), None)
    if form is not None:
        return not form.public and (bool(form.pattern) or is_random(value))
    return bool(_says_secret(name)) and _is_guess(name, value)


def is_random(value: bytes) -> bool:
    """Whether ``value`` looks as if a generator had made it, not a person.

    No measure of single characters tells: the entropy of their frequencies is 3.8 bits in
    ``my-service-password`` and 3.6 in sixteen random ones. How letters, capitals and digits
    alternate does.
    """
    text = value.decode("ascii", "replace")
    if len(value) < MIN_GUESSED or not _VISIBLE.fullmatch(text) or _ORDINARY.fullmatch(text):
        return False
    if _UUID.fullmatch(text) or is_placeholder(text) or len(set(text)) < _MIN_VARIETY:
        return False
    kinds = [_kind(char) for char in text if char.isalnum()]
    return _changes(text) >= _CHANGES_PER_CHARACTER * len(kinds) > 0


def _says_secret(name: str) -> str:
    """The word that says so; empty if none does."""
    words: list[str] = [word.upper() for word in _WORDS.findall(name)]
    if not words or words[-1].rstrip("0123456789") in _ABOUT or _NO_SECRET.intersection(words):
        return ""
    for word in (word.rstrip("0123456789") for word in words):
        if word in _NAMED or word.endswith(_ENDINGS):
            return word
    return _KEY if words[-1].rstrip("0123456789") == _KEY else ""


def _is_guess(name: str, value: bytes) -> bool:
    if not is_random(value):
        return False
    text = value.decode("ascii")
    if _says_secret(name) != _KEY:
        return True
    # linux-node-<hash of a lock file>, or the fingerprint of who signed a release.
    parts = _SEPARATORS.split(text)
    described = len(parts) > 1 and any(_WORD_LIKE.fullmatch(part) for part in parts)
    return not described and not _HEX.fullmatch(text) and not any(map(_LONG_HEX.fullmatch, parts))


def _changes(text: str) -> int:
    """How often the kind of character changes within a word; a capital may begin one."""
    changes = 0
    for first, second in pairwise(text):
        if first.isalnum() and second.isalnum():
            before, after = _kind(first), _kind(second)
            changes += before != after and (before, after) != ("upper", "lower")
    return changes


def _kind(char: str) -> str:
    if char.isdigit():
        return "digit"
    return "upper" if char.isupper() else "lower"


def unique_name(name: str, taken: Iterable[str]) -> str:
    """``name``, or with a number behind it if a secret of this name is known already."""
    known = set(taken)
    if name not in known:
        return name
    return next(f"{name}#{i}" for i in range(2, len(known) + 3) if f"{name}#{i}" not in known)
