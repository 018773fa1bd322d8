# SPDX-License-Identifier: MIT
"""Text to places: names, names below a name, numbered names, addresses and networks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from leakstop.errors import PolicyError
from leakstop.policy.rules import AddressPlace, IPNetwork, NamePlace, Place, Reach, to_network
from leakstop.policy.zones import REGISTRIES

SHARDS = 256
"""Most names that one text with number ranges may stand for."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_RANGE = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(0|[1-9][0-9]{0,8})\.\.(0|[1-9][0-9]{0,8})")
_NAME_LENGTH = 253
_MAPPED_BITS = 96
_REACH = {"*": Reach.ONE, "**": Reach.DEEP}


class DestinationError(PolicyError):
    """A text that names no destination. Has ``what`` and ``fix``, the caller knows where."""


def parse_place(text: str) -> tuple[Place, ...]:
    """Read a name, pattern, address or network; numbered names give several places.

    Raises:
        DestinationError: it is none of these.
    """
    network = _network(text)
    if network is not None:
        return (AddressPlace(network),)
    return parse_names(text)


def parse_names(text: str) -> tuple[NamePlace, ...]:
    """Read a name, ``*.name``, ``**.name`` or a name with number ranges.

    Raises:
        DestinationError: it is no name.
    """
    name, reach = text.lower().removesuffix("."), Reach.EXACT
    head, _, rest = name.partition(".")
    if head in _REACH:
        name, reach = rest, _REACH[head]
    _check_wildcards(text, name, reach)
    names = tuple(_ascii(text, each) for each in _numbered(text, name))
    for each in names:
        _check_name(text, each)
    return tuple(NamePlace(each, reach) for each in names)


def _check_wildcards(text: str, name: str, reach: Reach) -> None:
    if name.startswith("."):
        raise DestinationError(
            f"`{text}` begins with a dot",
            fix=f'write `{name[1:]}` for itself, `"**{name}"` for all names below it',
        )
    if "*" in name:
        raise DestinationError(
            f"`{text}`: a wildcard is only allowed as the whole first label",
            fix="`*.x` is one label, `**.x` one or more; numbered names: `shard{0..19}.x`",
        )
    if reach is Reach.EXACT:
        return
    if not name:
        raise DestinationError(
            f"`{text}` has no name below its wildcard",
            fix="to see everything and stop nothing write `mode: audit`",
        )
    if "." not in name or name in REGISTRIES:
        raise DestinationError(
            f"`{text}` covers a whole top-level domain: anyone can own a name there",
            fix=f"name the domain: `{'*' if reach is Reach.ONE else '**'}.example.{name}`",
        )


def _numbered(text: str, name: str) -> Iterator[str]:
    """Expand ``shard{0..19}``; a label may hold one range."""
    pieces = _RANGE.split(name)
    if len(pieces) == 1 and "{" not in name and "}" not in name:
        yield name
        return
    choices: list[range] = []
    for bounds in pieces[1::2]:
        match = _NUMBERS.fullmatch(bounds)
        if match is None:
            raise DestinationError(
                f"`{text}`: `{{{bounds}}}` is no range of numbers",
                fix="write it as `{0..19}`, without leading zeros",
            )
        first, last = int(match[1]), int(match[2])
        if first > last:
            raise DestinationError(
                f"`{text}`: the range `{{{bounds}}}` runs backwards",
                fix=f"write `{{{last}..{first}}}`",
            )
        choices.append(range(first, last + 1))
    if not choices or any("{" in part or "}" in part for part in pieces[::2]):
        raise DestinationError(
            f"`{text}`: braces that are no range of numbers", fix="write it as `{0..19}`"
        )
    if any(label.count("{") > 1 for label in _RANGE.sub("{", name).split(".")):
        raise DestinationError(
            f"`{text}`: a label may hold one range", fix="write the names one by one"
        )
    count = 1
    for numbers in choices:
        count *= len(numbers)
    if count > SHARDS:
        raise DestinationError(
            f"`{text}` stands for {count} names; the limit is {SHARDS}", fix="split the range"
        )
    for combination in product(*choices):
        inner = (str(number) for number in combination)
        yield "".join(next(inner) if index % 2 else part for index, part in enumerate(pieces))


def _ascii(text: str, name: str) -> str:
    """A-label form of an internationalised name."""
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise DestinationError(f"`{text}` is no host name", fix="write its `xn--` form") from error


def _check_name(text: str, name: str) -> None:
    labels = name.split(".")
    for label in labels:
        if _LABEL.fullmatch(label):
            continue
        strange = next((char for char in label if not re.match("[a-z0-9_-]", char)), "")
        if not label:
            raise DestinationError(f"`{text}` has an empty label", fix="one dot between labels")
        if strange:
            raise DestinationError(
                f"`{text}` is no host name: it has `{strange}` in it",
                fix="a destination is `host`, `host:port`, an address, a network or a preset",
            )
        if len(label) > 63:
            raise DestinationError(
                "a label of this name is longer than 63 characters", fix="DNS allows 63"
            )
        raise DestinationError(
            f"`{text}` is no host name: a label begins or ends with a hyphen",
            fix="check the spelling",
        )
    if len(name) > _NAME_LENGTH:
        raise DestinationError(f"this name is longer than {_NAME_LENGTH} characters")
    if labels[-1].isdigit() or re.fullmatch("0x[0-9a-f]*", labels[-1]):
        # 127.1, 0x7f000001 and 010.0.0.1 mean something else to each program that reads them.
        raise DestinationError(
            f"`{text}` is neither an address nor a name",
            fix="write addresses in full: `192.0.2.1`, `2001:db8::1`",
        )


def _network(text: str) -> IPNetwork | None:
    """The network or single address that ``text`` is; ``None`` if it is a name."""
    address = text.partition("/")[0]
    try:
        network = to_network(address)
    except ValueError:
        return None
    if "%" in text:
        raise DestinationError(f"`{text}` has a zone", fix=f"write `{address.partition('%')[0]}`")
    try:
        network = to_network(text) if text != address else network
    except ValueError as error:
        try:
            fix = f"write `{ip_network(text, strict=False)}`"
        except ValueError:
            fix = "write the prefix length as in `192.0.2.0/24`"
        raise DestinationError(f"`{text}` is no network", fix=fix) from error
    if isinstance(network, IPv6Network):
        # A socket reaches ::ffff:192.0.2.1 over IPv4, so that is what the rule is about.
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= _MAPPED_BITS:
            return IPv4Network((int(mapped), network.prefixlen - _MAPPED_BITS))
    return network


__all__ = ["SHARDS", "DestinationError", "parse_names", "parse_place"]
