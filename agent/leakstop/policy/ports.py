# SPDX-License-Identifier: MIT
"""Text to ports."""

from __future__ import annotations

import re
from functools import lru_cache

from leakstop.policy.place import DestinationError
from leakstop.policy.rules import PortRange

ALL_PORTS = PortRange(1, 65535)


def parse_ports(text: str) -> PortRange:
    """Read one port, a range ``8000-8010``, or ``*``.

    Raises:
        DestinationError: it is none of these.
    """
    if text == "*":
        return ALL_PORTS
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    if match is None:
        raise DestinationError(
            f"`{text}` is no port", fix="one port `443`, a range `8000-8010`, or `*`"
        )
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= 65535 or not 1 <= last <= 65535:
        raise DestinationError(f"`{text}`: ports go from 1 to 65535", fix="check the number")
    if first > last:
        raise DestinationError(
            f"`{text}`: the range of ports runs backwards", fix=f"write `{last}-{first}`"
        )
    return PortRange(first, last)


@lru_cache(maxsize=1024)
def one_port(text: str) -> tuple[PortRange, ...]:
    """The same, as a rule holds it; the same text gives the same object.

    Raises:
        DestinationError: it is no port.
    """
    return (parse_ports(text),)


__all__ = ["ALL_PORTS", "one_port", "parse_ports"]
