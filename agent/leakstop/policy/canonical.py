# SPDX-License-Identifier: MIT
"""A policy as canonical JSON with a digest: the only form that the root process reads.

Canonical means that a policy has exactly one text: UTF-8, keys sorted, no blanks. So the
digest names a policy and not a spelling of it, and a text that says anything twice or
anything unknown is refused. Rules that differ only in their place stand in one group, each
with its number among all of them, which keeps 50,000 of them small.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from itertools import groupby
from typing import Any, TypeVar

from leakstop.errors import PolicyError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Action, Leak, Mode, RuleRef
from leakstop.policy.budgets import NAMES_MAX
from leakstop.policy.bulk import uncollected
from leakstop.policy.match import plain_network
from leakstop.policy.rules import (
    REACHES,
    AddressPlace,
    Home,
    NamePlace,
    Place,
    Policy,
    PortRange,
    Protocol,
    Rule,
    to_network,
)

FORMAT = 1
"""Changes whenever an older reader could misunderstand the text."""

_LABEL = "[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"(\*\*?\.)?((?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*)", re.ASCII)
_ITEM = [int, str, int, str]
"""Number, place, line and text of a rule."""
_PORTLESS = frozenset({Protocol.ICMP, Protocol.DNS, Protocol.ANY})

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


@uncollected
def to_canonical(policy: Policy) -> bytes:
    """Write ``policy``, with its digest.

    Raises:
        PolicyError: a text in it, such as the name of a file, is not UTF-8.
    """
    return _dump(to_document(policy))


def to_document(policy: Policy) -> dict[str, Any]:
    """Turn ``policy`` into JSON values, with the digest of what it says *now*.

    A policy may have been changed since it got its digest: to audit mode, where the machine
    can only observe.
    """
    body = _body(policy)
    return {**body, "digest": _digest(body)}


def with_digest(policy: Policy) -> Policy:
    """Give ``policy`` the digest over everything else in it."""
    return replace(policy, digest=_digest(_body(policy)))


@uncollected
def from_canonical(data: bytes) -> Policy:
    """Read what ``to_canonical`` wrote.

    Raises:
        PolicyError: it is not canonical, its digest is another one, or it is no policy.
    """
    try:
        document = json.loads(data)
        canonical = _dump(document) == data
    except (ValueError, RecursionError) as error:
        raise _refused("it is not JSON") from error
    if not canonical:
        raise _refused("it is not in canonical form")
    return from_document(document)


def from_document(document: object) -> Policy:
    """Read what ``to_document`` made.

    Raises:
        PolicyError: its digest is another one, or it is no policy.
    """
    fields = _Fields(document, "policy")
    digest = fields.take("digest", str)
    found = _digest(fields.rest())
    if fields.take("format", int) != FORMAT:
        raise _refused(f"its format is not {FORMAT}")
    if found != digest:
        raise _refused("its digest is not that of its content")
    policy = Policy(
        mode=fields.choice("mode", Mode),
        leak=fields.choice("leak", Leak),
        fail_on=fields.choice("fail_on", Severity),
        on_unsupported=fields.word("on_unsupported", ("", "fail", "audit")),
        rules=_rules(fields.take("rules", list)),
        homes=_homes(fields, "homes"),
        format_homes=_homes(fields, "format_homes") if fields.has("format_homes") else {},
        sinks=_rules(fields.take("sinks", list)),
        sources=_texts(fields.take("sources", list)),
        digest=digest,
    )
    fields.end()
    if any(rule.action is Action.ALLOW and rule.protocol is Protocol.ANY for rule in policy.rules):
        raise _refused("an allow without a protocol")
    return policy


def rules_to_document(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Turn rules that belong to no policy, such as a preset's, into JSON values."""
    return _groups(rules)


def rules_from_document(document: object) -> tuple[Rule, ...]:
    """Read what ``rules_to_document`` made.

    Raises:
        PolicyError: it holds something else than rules.
    """
    if not isinstance(document, list):
        raise _refused("rules that are no list")
    return _rules(document)


# ---- writing ----


def _dump(document: object) -> bytes:
    text = json.dumps(
        document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        # Names of files may be any bytes; Python carries them as lone surrogates.
        raise PolicyError(
            "a text in the policy is not UTF-8",
            why=f"it has {error.object[error.start]!a} in it",
            fix="rename the file, or correct the text",
        ) from error


def _digest(body: object) -> str:
    return "sha256:" + hashlib.sha256(_dump(body)).hexdigest()


def _body(policy: Policy) -> dict[str, Any]:
    body = {
        "format": FORMAT,
        "mode": policy.mode.value,
        "leak": policy.leak.value,
        "fail_on": policy.fail_on.value,
        "on_unsupported": policy.on_unsupported,
        "rules": _groups(policy.rules),
        "homes": _homes_body(policy.homes),
        "sinks": _groups(policy.sinks),
        "sources": list(policy.sources),
    }
    if policy.format_homes:
        body["format_homes"] = _homes_body(policy.format_homes)
    return body


def _homes_body(homes: Mapping[str, Home]) -> dict[str, Any]:
    return {
        name: {
            "nowhere": home.nowhere,
            "text": list(home.text),
            "placed_by": home.placed_by,
            "rules": _groups(home.rules),
        }
        for name, home in homes.items()
    }


def _groups(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    groups: dict[tuple[object, ...], list[list[object]]] = {}
    for common, run in groupby(enumerate(rules), key=_common):
        items = [[number, str(rule.place), rule.ref.line, rule.ref.text] for number, rule in run]
        groups.setdefault(common, []).extend(items)
    return [_group(common, items) for common, items in groups.items()]


def _common(numbered: tuple[int, Rule]) -> tuple[object, ...]:
    """What the rules of a group have in common: everything but place, line and text."""
    rule = numbered[1]
    named = isinstance(rule.place, NamePlace)
    ref = rule.ref
    spoken = rule.action, rule.protocol, rule.ports, rule.quiet, rule.why, rule.names
    return *spoken, ref.source, ref.via, named


def _group(common: tuple[Any, ...], items: list[list[object]]) -> dict[str, Any]:
    action, protocol, ports, quiet, why, budget, source, via, named = common
    return {
        "action": action.value,
        "protocol": protocol.value,
        "ports": [[each.first, each.last] for each in ports],
        "quiet": quiet,
        "why": why,
        "budget": budget,
        "source": source,
        "via": via,
        "names" if named else "addresses": items,
    }


# ---- reading ----


def _homes(fields: _Fields, name: str) -> dict[str, Home]:
    return {name: _home(home) for name, home in fields.take(name, dict).items()}


def _home(document: object) -> Home:
    fields = _Fields(document, "home")
    home = Home(
        nowhere=fields.take("nowhere", bool),
        rules=_rules(fields.take("rules", list)),
        text=_texts(fields.take("text", list)),
        placed_by=fields.word("placed_by", ("policy", "input", "format")),
    )
    fields.end()
    if home.nowhere and home.rules:
        raise _refused("a home that is nowhere and somewhere")
    return home


def _rules(groups: list[object]) -> tuple[Rule, ...]:
    numbered = dict(item for group in groups for item in _group_rules(group))
    rules = tuple(numbered[number] for number in sorted(numbered))
    if _groups(rules) != groups:
        raise _refused("rules that are not in their one form and order")
    return rules


def _group_rules(document: object) -> Iterator[tuple[int, Rule]]:
    fields = _Fields(document, "rule")
    action = fields.choice("action", Action)
    protocol = fields.choice("protocol", Protocol)
    ports = tuple(_port_range(each) for each in fields.take("ports", list))
    quiet, why = fields.take("quiet", bool), fields.take("why", str)
    budget = fields.take("budget", int)
    source, via = fields.take("source", str), fields.take("via", str)
    named = fields.has("names")
    items = fields.take("names" if named else "addresses", list)
    fields.end()
    if bool(ports) == (protocol in _PORTLESS):
        raise _refused(f"`{protocol.value}` {'with' if ports else 'without'} ports")
    if not 0 <= budget <= NAMES_MAX:
        raise _refused(f"a budget of {budget} names")
    read: Callable[[str], Place] = _name if named else _address
    for item in items:
        # Not `isinstance`: JSON's `true` is no line.
        if type(item) is not list or list(map(type, item)) != _ITEM or item[2] < 0:
            raise _refused("a rule without its number, place, line and text")
        number, place, line, text = item
        ref = RuleRef(text, source, line, via)
        yield number, Rule(action, read(place), protocol, ports, ref, quiet, why, budget)


def _port_range(document: object) -> PortRange:
    if not isinstance(document, list) or [type(port) for port in document] != [int, int]:
        raise _refused("a range of ports that is not two numbers")
    first, last = document
    if not 1 <= first <= last <= 65535:
        raise _refused(f"no range of ports: {first}-{last}")
    return PortRange(first, last)


def _name(text: str) -> NamePlace:
    match = _NAME.fullmatch(text)
    if match is None:
        raise _refused(f"no name: {text!r}")
    return NamePlace(match[2], REACHES[match[1]])


def _address(text: str) -> AddressPlace:
    try:
        network = to_network(text)
    except ValueError as error:
        raise _refused(f"no address: {text!r}") from error
    # Any other spelling is found when what was read is written again.
    if "%" in text or plain_network(network) is not network:
        raise _refused(f"an address not in its one form: {text!r}")
    return AddressPlace(network)


def _texts(items: list[object]) -> tuple[str, ...]:
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise _refused("a list with something else than text in it")
    return texts


class _Fields:
    """The fields of a JSON object, each of which must be taken exactly once."""

    def __init__(self, document: object, what: str) -> None:
        if not isinstance(document, dict):
            raise _refused(f"a {what} that is no object")
        self._left = dict(document)
        self._what = what

    def has(self, name: str) -> bool:
        return name in self._left

    def rest(self) -> dict[str, Any]:
        """What was not taken yet."""
        return self._left

    def take(self, name: str, kind: type[T]) -> T:
        """Take a field of exactly this type: JSON's ``true`` is no number."""
        value = self._left.pop(name, None)
        if type(value) is not kind:
            raise _refused(f"`{name}` of a {self._what} is missing or of the wrong type")
        return value

    def word(self, name: str, words: Iterable[str]) -> str:
        """Take a field that is one of ``words``."""
        value = self.take(name, str)
        if value not in words:
            raise _refused(f"`{name}` of a {self._what} is {value!r}")
        return value

    def choice(self, name: str, kind: type[E]) -> E:
        """Take a field that is the value of a member of ``kind``."""
        return kind(self.word(name, [member.value for member in kind]))

    def end(self) -> None:
        """Refuse what nobody took."""
        if self._left:
            raise _refused(f"unknown field `{min(self._left)}` of a {self._what}")


def _refused(what: str) -> PolicyError:
    return PolicyError(
        f"the compiled policy is refused: {what}",
        why="it was changed on its way, or another version of Leakstop wrote it",
        fix="compile it again with this version",
    )


__all__ = [
    "FORMAT",
    "from_canonical",
    "from_document",
    "rules_from_document",
    "rules_to_document",
    "to_canonical",
    "to_document",
    "with_digest",
]
