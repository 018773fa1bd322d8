# SPDX-License-Identifier: MIT
"""The checksums that providers put into their tokens, where the rule is published.

One that holds makes a shape certain. One that does not proves nothing: rules change, and a
text may be a part of a token.
"""

from __future__ import annotations

import re
import string
import zlib

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CRC_TOKEN = re.compile(r"[a-z]+_([A-Za-z0-9]{30})([A-Za-z0-9]{6})")
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def crc32_base62(token: str) -> bool:
    """GitHub's and npm's: 6 digits at the end are the CRC-32 of the 30 characters before.

    https://github.blog/engineering/behind-githubs-new-authentication-token-formats/
    """
    match = _CRC_TOKEN.fullmatch(token)
    return match is not None and _base62(zlib.crc32(match[1].encode())) == match[2]


def with_crc32(beginning: str) -> str:
    """Such a token, of a prefix and the 30 characters behind it."""
    return beginning + _base62(zlib.crc32(beginning.partition("_")[2].encode()))


def bech32(text: str) -> bool:
    """The one of age's keys, BIP 173: all characters, its six included, leave the remainder 1."""
    if text not in (text.lower(), text.upper()):
        return False
    prefix, separator, data = text.lower().rpartition("1")
    if not prefix or not separator or len(data) < 6 or not set(data) <= set(_BECH32):
        return False
    values = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    values += [_BECH32.index(char) for char in data]
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATOR):
            remainder ^= generator if top >> bit & 1 else 0
    return remainder == 1


def _base62(number: int) -> str:
    """Six digits: a CRC-32 needs no more."""
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
