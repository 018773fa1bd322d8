# SPDX-License-Identifier: MIT
"""Rules as JSON: those that differ only in their place stand in one group, each with its number
among all of them, which keeps 50,000 of them small."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.budgets import NAMES_MAX
from leakstop.policy.match import plain_network
from leakstop.policy.objects import Fields, refused, texts
from leakstop.policy.rules import (
    REACHES,
    AddressPlace,
    NamePlace,
    Place,
    PortRange,
    Protocol,
    Rule,
    to_network,
)
from leakstop.policy.scopes import Scope, fits_kernel

_LABEL = "[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"(\*\*?\.)?((?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*)", re.ASCII)
_ITEM = [int, str, int, str]
"""Number, place, line and text of a rule."""
_PORTLESS = frozenset({Protocol.ICMP, Protocol.DNS, Protocol.ANY})


def rules_to_document(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Turn rules into JSON values."""
    groups: dict[tuple[object, ...], list[list[object]]] = {}
    for common, run in groupby(enumerate(rules), key=_common):
        items = [[number, str(rule.place), rule.ref.line, rule.ref.text] for number, rule in run]
        groups.setdefault(common, []).extend(items)
    return [_group(common, items) for common, items in groups.items()]


def rules_from_document(groups: object) -> tuple[Rule, ...]:
    """Read what ``rules_to_document`` made.

    Raises:
        PolicyError: it holds something else than rules, or is not what that would make of them.
    """
    if not isinstance(groups, list):
        raise refused("rules that are no list")
    numbered = dict(item for group in groups for item in _group_rules(group))
    rules = tuple(numbered[number] for number in sorted(numbered))
    if rules_to_document(rules) != groups:
        raise refused("rules that are not in their one form and order")
    return rules


def _common(numbered: tuple[int, Rule]) -> tuple[object, ...]:
    """What the rules of a group have in common: everything but place, line and text."""
    rule = numbered[1]
    named = isinstance(rule.place, NamePlace)
    ref = rule.ref
    spoken = rule.action, rule.protocol, rule.ports, rule.quiet, rule.why, rule.names
    return *spoken, rule.scope, ref.source, ref.via, named


def _group(common: tuple[Any, ...], items: list[list[object]]) -> dict[str, Any]:
    action, protocol, ports, quiet, why, budget, scope, source, via, named = common
    return {
        "action": action.value,
        "protocol": protocol.value,
        "ports": [[each.first, each.last] for each in ports],
        "quiet": quiet,
        "why": why,
        "budget": budget,
        "scope": _scope_to_document(scope),
        "source": source,
        "via": via,
        "names" if named else "addresses": items,
    }


def _group_rules(document: object) -> Iterator[tuple[int, Rule]]:
    fields = Fields(document, "rule")
    action = fields.choice("action", Action)
    protocol = fields.choice("protocol", Protocol)
    ports = tuple(_port_range(each) for each in fields.take("ports", list))
    quiet, why = fields.take("quiet", bool), fields.take("why", str)
    budget, scope = fields.take("budget", int), _scope(fields.take("scope", dict))
    source, via = fields.take("source", str), fields.take("via", str)
    named = fields.has("names")
    items = fields.take("names" if named else "addresses", list)
    fields.end()
    if bool(ports) == (protocol in _PORTLESS):
        raise refused(f"`{protocol.value}` {'with' if ports else 'without'} ports")
    if not 0 <= budget <= NAMES_MAX:
        raise refused(f"a budget of {budget} names")
    read: Callable[[str], Place] = _name if named else _address
    for item in items:
        # Not `isinstance`: JSON's `true` is no line.
        if type(item) is not list or list(map(type, item)) != _ITEM or item[2] < 0:
            raise refused("a rule without its number, place, line and text")
        number, place, line, text = item
        ref = RuleRef(text, source, line, via)
        yield number, Rule(action, read(place), protocol, ports, ref, quiet, why, budget, scope)


def _scope_to_document(scope: Scope) -> dict[str, Any]:
    """What it says, and nothing of what it leaves open."""
    said = {"step": scope.step, "process": scope.process, "container": scope.container}
    document: dict[str, Any] = {key: list(names) for key, names in said.items() if names}
    return {**document, "runner": True} if scope.runner else document


def _scope(document: object) -> Scope:
    fields = Fields(document, "scope")
    step, process, container = (
        texts(fields.take(key, list)) if fields.has(key) else ()
        for key in ("step", "process", "container")
    )
    runner = fields.has("runner") and fields.take("runner", bool)
    fields.end()
    if not all(map(fits_kernel, process)):
        raise refused("a program that the kernel has no room for")
    return Scope(step, process, container, runner)


def _port_range(document: object) -> PortRange:
    if not isinstance(document, list) or [type(port) for port in document] != [int, int]:
        raise refused("a range of ports that is not two numbers")
    first, last = document
    if not 1 <= first <= last <= 65535:
        raise refused(f"no range of ports: {first}-{last}")
    return PortRange(first, last)


def _name(text: str) -> NamePlace:
    match = _NAME.fullmatch(text)
    if match is None:
        raise refused(f"no name: {text!r}")
    return NamePlace(match[2], REACHES[match[1]])


def _address(text: str) -> AddressPlace:
    try:
        network = to_network(text)
    except ValueError as error:
        raise refused(f"no address: {text!r}") from error
    # Any other spelling is found when what was read is written again.
    if "%" in text or plain_network(network) is not network:
        raise refused(f"an address not in its one form: {text!r}")
    return AddressPlace(network)


__all__ = ["rules_from_document", "rules_to_document"]
