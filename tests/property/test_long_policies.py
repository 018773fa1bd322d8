# SPDX-License-Identifier: MIT
"""50,000 hosts and 256 conditions mean in the tables what they mean in the reference.

How long they take to compile is a figure of `make bench`.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from leakstop.errors import PolicyError
from leakstop.model.flow import Flow, Stream, Transport
from leakstop.policy.canonical import from_canonical, to_canonical
from leakstop.policy.cases import sample
from leakstop.policy.match import decide
from leakstop.policy.merge import Given, build, gather
from leakstop.policy.presets import Presets
from leakstop.policy.rules import Policy, Rule
from leakstop.policy.tables import LIMIT, compile_tables

HOSTS = 50_000
SAMPLES = 40
"""The reference looks at every rule, for a tenth of a second each time."""
DENIED = 2
"""Conditions of the deny: TCP and UDP."""


def place(number: int) -> str:
    """Names, patterns, names below patterns, addresses and networks, in turns."""
    zone, octets = f"zone{number // 70}.test", f"{number >> 8 & 255}.{number & 255}"
    return (
        f"h{number}.{zone}",
        f"a.h{number}.{zone}",
        f"*.w{number}.{zone}",
        f"x.w{number - 1}.{zone}",
        f"**.h{number - 4}.{zone}",
        f"10.{number >> 16}.{octets}",
        f"2001:db8:{number:x}::/48",
    )[number % 7]


def policy(hosts: int, ports: int) -> Policy:
    """Read from a block of text, handed over to root, on so many ports in turns."""
    lines = "".join(f"  {_at(place(number), 1000 + number % ports)}\n" for number in range(hosts))
    text = f"version: 1\nmode: block\ndeny: '**.zone7.test:1003'\nallow: |\n{lines}"
    gathered = gather([Given("long.yml", text)], loader=str, presets=Presets({}))
    return from_canonical(to_canonical(build(gathered, {}).policy))


def _at(place: str, port: int) -> str:
    return f"[{place}]:{port}" if ":" in place else f"{place}:{port}"


FIXED = (
    Flow(Transport.TCP, 1003, names=("any.zone7.test",)),
    Flow(Transport.TCP, 1000, names=("h0.zone0.test",), stream=Stream.HIDDEN),
)
"""One that is denied by a rule, and one for what it does not show."""


def flows(rule: Rule) -> Iterator[Flow]:
    """What a rule is about, and what comes close to it."""
    flow = sample(rule)
    for port in (flow.port, flow.port + 1, 443):
        for name in (*flow.names, "x.h7.zone7.test", "other.test"):
            yield Flow(Transport.TCP, port, flow.ip, (name,))
            yield Flow(Transport.TCP, port, flow.ip, (name,), stream=Stream.TLS, shown=name)
            yield Flow(Transport.DNS, names=(name,))
        for stream in (Stream.OTHER, Stream.HIDDEN):
            yield Flow(Transport.TCP, port, flow.ip, flow.names, stream=stream)
        yield Flow(Transport.UDP, port, flow.ip, flow.names)


def test_50_000_hosts_and_256_conditions() -> None:
    long = policy(HOSTS, LIMIT - DENIED)
    tables = compile_tables(long)
    assert len(long.rules) >= HOSTS and len(tables.conditions) == LIMIT
    decided = set()
    random = Random(7)
    near = [flow for rule in random.sample(long.rules, SAMPLES) for flow in flows(rule)]
    for flow in (*FIXED, *random.sample(near, SAMPLES)):
        verdict = decide(long, flow)
        assert tables.decide(flow) == (verdict.policy, verdict.reason), flow
        decided.add(verdict.reason.value)
    assert decided >= {"allow-rule", "deny-rule", "not-named", "identity"}


def test_one_condition_more_is_refused() -> None:
    with pytest.raises(PolicyError, match=f"{LIMIT + 1} different combinations"):
        compile_tables(policy(2_000, LIMIT - DENIED + 1))
