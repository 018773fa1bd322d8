# SPDX-License-Identifier: MIT
"""Secrets of the right shape, made up at run time: no token is ever written down."""

from __future__ import annotations

import base64
import secrets
import string
import zlib
from dataclasses import dataclass

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclass(frozen=True)
class Token:
    """A made-up secret."""

    name: str
    value: str

    @property
    def env(self) -> dict[str, str]:
        """The variable that holds it."""
        return {self.name: self.value}

    @property
    def forms(self) -> tuple[bytes, ...]:
        """The value and its usual encodings: none may ever be in an output of ours."""
        raw = self.value.encode()
        # An encoded secret is found at three offsets; the first and last characters depend on
        # its neighbours.
        shifted = [base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)]
        web = [form.translate(bytes.maketrans(b"+/", b"-_")) for form in shifted]
        return tuple(dict.fromkeys([raw, *shifted, *web, raw.hex().encode()]))


def npm(name: str = "NPM_TOKEN") -> Token:
    """A token in the shape of the npm registry's: its format tells where it belongs."""
    return Token(name, _checked("npm_FAKE"))


def github(name: str = "DEPLOY_PAT") -> Token:
    """A token in the shape of GitHub's personal access tokens."""
    return Token(name, _checked("ghp_FAKE"))


def home_made(name: str = "PROJECT_SYNC_TOKEN") -> Token:
    """A token of no known format: nobody but a policy can say where it belongs."""
    return Token(name, secrets.token_urlsafe(24))


def hexadecimal(name: str = "SIGNING_SALT") -> Token:
    """Forty hexadecimal digits: fits into one DNS label."""
    return Token(name, secrets.token_hex(20))


def cloud_key(name: str = "AWS_SECRET_ACCESS_KEY") -> Token:
    """A key in the shape of AWS's: its name tells that it belongs nowhere."""
    return Token(name, "".join(secrets.choice(_BASE62 + "+/") for _ in range(40)))


def _checked(prefix: str, length: int = 40) -> str:
    """Random characters after ``prefix``, closed by the six base62 digits of their CRC-32."""
    body = "".join(secrets.choice(_BASE62) for _ in range(length - len(prefix) - 6))
    kind = prefix.partition("_")[2]
    checksum, digits = zlib.crc32((kind + body).encode()), ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        digits = _BASE62[digit] + digits
    return prefix + body + digits
