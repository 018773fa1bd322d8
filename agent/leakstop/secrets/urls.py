# SPDX-License-Identifier: MIT
"""Where a secret belongs that is itself a URL: at the place that it names."""

from __future__ import annotations

import re
from ipaddress import ip_address

_URL = re.compile(
    r"(?:jdbc:)?([a-z][a-z0-9+]*)://(?:[^/?#\s]*@)?([^/?#@\s]+)(?:[/?#].*)?", re.DOTALL
)
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!\d+$|0[xX]){_LABEL}")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?")
_PORTS = {
    "https": 443,
    "postgres": 5432,
    "postgresql": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "mongodb": 27017,
    "redis": 6379,
    "rediss": 6379,
    "amqp": 5672,
    "amqps": 5671,
    "mssql": 1433,
    "sqlserver": 1433,
}
_SRV = "mongodb+srv"

DATABASE_SCHEMES = (_SRV, *(scheme for scheme in _PORTS if scheme != "https"))


def places_of(url: str) -> tuple[str, ...]:
    """The places that a URL names, as ``host:port``; none if one of them cannot be read."""
    match = _URL.fullmatch(url)
    if not match:
        return ()
    if match[1] == _SRV:
        # The servers are in the answer to an SRV question; the driver only accepts those
        # below the name's parent (MongoDB's initial DNS seed list discovery). A parent of two
        # labels could be everybody's, as co.uk is.
        parent = match[2].partition(".")[2]
        return (f"**.{parent}:*",) if _NAME.fullmatch(parent) and parent.count(".") >= 2 else ()
    places = []
    for part in match[2].split(","):
        split = _HOST_AND_PORT.fullmatch(part)
        port = int(split[2] or _PORTS.get(match[1], 0)) if split else 0
        if not split or not _is_host(split[1]) or not 1 <= port <= 65535:
            return ()
        places.append(f"{split[1]}:{port}")
    return tuple(places)


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return len(text) <= 253
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return text.startswith("[") == (":" in text) and "%" not in text
