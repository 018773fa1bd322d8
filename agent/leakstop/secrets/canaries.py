# SPDX-License-Identifier: MIT
"""Credentials that open nothing. Nobody has a reason to send one: whoever does, collects them.

Each has the form of a real one, checksum included, and is made for one job. The hosts in them are
nobody's (RFC 2606).
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from dataclasses import dataclass, field

from leakstop.model.report import CANARY
from leakstop.secrets.checksums import with_crc32
from leakstop.secrets.inventory import Secret

Draw = Callable[[int], int]
"""A random number below the one given."""

VARIABLES = ("DEPLOY_SERVICE_TOKEN", "RELEASE_SERVICE_TOKEN", "INTERNAL_API_TOKEN")
"""Names for the one in the environment; the first that is free is taken."""

_HOST = "packages.invalid"
_ALNUM = string.ascii_letters + string.digits
_AWS_ID = string.ascii_uppercase + "234567"
_NOWHERE = ("nowhere",)


@dataclass(frozen=True, slots=True)
class Canary:
    """What is planted in one place."""

    place: str
    """Of a file its path below a home; ``""`` is the environment."""
    text: str = field(repr=False)
    secrets: tuple[Secret, ...]


def make(draw: Draw) -> tuple[Canary, ...]:
    """One for each place in which thieves look."""

    def some(alphabet: str, length: int) -> str:
        return "".join(alphabet[draw(len(alphabet))] for _ in range(length))

    identity, key = "AKIA" + some(_AWS_ID, 16), _base64(draw, 30)
    profile = f"[deploy]\naws_access_key_id = {identity}\naws_secret_access_key = {key}\n"
    npm = with_crc32("npm_" + some(_ALNUM, 30))
    git = with_crc32("ghp_" + some(_ALNUM, 30))
    variable = some(_ALNUM, 40)
    return (
        Canary(
            ".aws/credentials",
            profile,
            (_secret("AWS_ACCESS_KEY_ID", identity), _secret("AWS_SECRET_ACCESS_KEY", key)),
        ),
        Canary(".npmrc", f"//{_HOST}/:_authToken={npm}\n", (_secret("NPM_TOKEN", npm),)),
        Canary(
            ".git-credentials",
            f"https://x-access-token:{git}@{_HOST}\n",
            (_secret("GIT_TOKEN", git),),
        ),
        Canary("", variable, (_secret("VARIABLE", variable),)),
    )


def _secret(name: str, value: str) -> Secret:
    return Secret(f"CANARY_{name}", value.encode(), _NOWHERE, CANARY)


def _base64(draw: Draw, length: int) -> str:
    return base64.b64encode(bytes(draw(256) for _ in range(length))).decode()


__all__ = ["VARIABLES", "Canary", "make"]
