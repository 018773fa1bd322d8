# SPDX-License-Identifier: MIT
"""A policy as canonical JSON with a digest: the only form that the root process reads.

Canonical means that a policy has exactly one text: UTF-8, keys sorted, no blanks. So the
digest names a policy and not a spelling of it, and a text that says anything twice or
anything unknown is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from leakstop.errors import PolicyError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Action, Leak, Mode
from leakstop.policy import keys
from leakstop.policy.bulk import uncollected
from leakstop.policy.groups import rules_from_document, rules_to_document
from leakstop.policy.objects import Fields, refused, texts
from leakstop.policy.rules import Home, Policy, Protocol

FORMAT = 1
"""Changes whenever an older reader could misunderstand the text."""


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
        raise refused("it is not JSON") from error
    if not canonical:
        raise refused("it is not in canonical form")
    return from_document(document)


def from_document(document: object) -> Policy:
    """Read what ``to_document`` made.

    Raises:
        PolicyError: its digest is another one, or it is no policy.
    """
    fields = Fields(document, "policy")
    digest = fields.take("digest", str)
    found = _digest(fields.rest())
    if fields.take("format", int) != FORMAT:
        raise refused(f"its format is not {FORMAT}")
    if found != digest:
        raise refused("its digest is not that of its content")
    policy = Policy(
        mode=fields.choice("mode", Mode),
        leak=fields.choice("leak", Leak),
        fail_on=fields.choice("fail_on", Severity),
        on_unsupported=fields.word("on_unsupported", ("", "fail", "audit")),
        lockdown=_lockdown(fields.take("lockdown", list)),
        rules=rules_from_document(fields.take("rules", list)),
        homes=_homes(fields, "homes"),
        format_homes=_homes(fields, "format_homes") if fields.has("format_homes") else {},
        sinks=rules_from_document(fields.take("sinks", list)),
        sources=texts(fields.take("sources", list)),
        digest=digest,
    )
    fields.end()
    if any(rule.action is Action.ALLOW and rule.protocol is Protocol.ANY for rule in policy.rules):
        raise refused("an allow without a protocol")
    return policy


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
        "lockdown": sorted(policy.lockdown),
        "rules": rules_to_document(policy.rules),
        "homes": _homes_body(policy.homes),
        "sinks": rules_to_document(policy.sinks),
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
            "rules": rules_to_document(home.rules),
        }
        for name, home in homes.items()
    }


# ---- reading ----


def _homes(fields: Fields, name: str) -> dict[str, Home]:
    return {name: _home(home) for name, home in fields.take(name, dict).items()}


def _home(document: object) -> Home:
    fields = Fields(document, "home")
    home = Home(
        nowhere=fields.take("nowhere", bool),
        rules=rules_from_document(fields.take("rules", list)),
        text=texts(fields.take("text", list)),
        placed_by=fields.word("placed_by", ("policy", "input", "format")),
    )
    fields.end()
    if home.nowhere and home.rules:
        raise refused("a home that is nowhere and somewhere")
    return home


def _lockdown(items: list[object]) -> frozenset[str]:
    taken = texts(items)
    if list(taken) != sorted({*taken} & {*keys.CHOICES["lockdown"]}):
        raise refused("a lockdown of something else than sudo and docker, sorted")
    return frozenset(taken)


__all__ = [
    "FORMAT",
    "from_canonical",
    "from_document",
    "to_canonical",
    "to_document",
    "with_digest",
]
