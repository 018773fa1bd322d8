# SPDX-License-Identifier: MIT
"""The kernel's decision is the reference's decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from bpf.harness import NOBODY, DataPlane, as_kernel_knows, question, wire
from leakstop.model.flow import Transport, Who
from leakstop.model.verdict import Action, Carriage, Leak, Mode
from leakstop.policy.match import decide
from leakstop.policy.rules import IPNetwork, Policy, Rule
from leakstop.policy.scopes import EVERYBODY, Scope
from leakstop.policy.tables import Tables, compile_tables
from leakstop.secrets.carriage import Destination, judge
from leakstop.secrets.encodings import Needle
from leakstop.secrets.needles import build
from property.strategies import SECRETS, allows, denies, flows_near, local_networks, policies

pytestmark = pytest.mark.root

_PROGRAMS = ("/usr/bin/curl", "/tmp/curl", "/opt/node/node", "/usr/bin/git")
_STEPS = ("Build", "publish", "actions/checkout")
_CONTAINERS = ("db:16", "db", "ghcr.test/app:1")


def some(*texts: str) -> st.SearchStrategy[tuple[str, ...]]:
    """None of them more often than any."""
    return st.just(()) | st.lists(st.sampled_from(texts), max_size=2, unique=True).map(tuple)


scopes = st.just(Scope(runner=True)) | st.builds(
    Scope,
    step=some(*_STEPS, "pub*"),
    process=some(*_PROGRAMS, "curl", "node"),
    container=some(*_CONTAINERS, "db*"),
)
whos = st.sampled_from((NOBODY, Who(runner=True))) | st.builds(
    Who,
    steps=some(*_STEPS),
    process=st.sampled_from((*_PROGRAMS, "")),
    container=some(*_CONTAINERS) | st.none(),
)
scoped_policies = st.builds(
    lambda mode, rules: Policy(
        mode=mode, rules=tuple(replace(rule, scope=scope) for rule, scope in rules)
    ),
    st.sampled_from(Mode),
    st.lists(st.tuples(allows | allows | denies, scopes), min_size=1, max_size=10),
)

# Each example loads the programs anew, because masks and mode are constants of the object.
loads = settings(
    derandomize=True, database=None, deadline=None, max_examples=40, phases=[Phase.generate]
)


@loads
@given(st.data(), policies, local_networks)
def test_rules(data: st.DataObject, policy: Policy, local: list[IPNetwork]) -> None:
    tables = compile_tables(policy, local=local)
    with DataPlane(policy, tables) as plane:
        for _ in range(25):
            flow = data.draw(flows_near(policy))
            flow = replace(flow, who=as_kernel_knows(flow.who))
            want = decide(policy, flow, local=local)
            if flow.transport is Transport.DNS:
                found = plane.read_name(question(wire(flow.names[0])), 12, who=flow.who)
                assert found.result == 0
                got = (tuple(Action)[found.judged.policy], tuple(Action)[found.judged.applied])
            elif flow.ip and flow.transport is not Transport.OTHER:
                judged = plane.decide(flow)
                assert judged.reason is want.reason
                got = (judged.policy, judged.applied)
            else:
                continue
            event(want.reason.value)
            assert got == (want.policy, want.applied), flow


@loads
@given(st.data(), scoped_policies, local_networks)
def test_scopes(data: st.DataObject, policy: Policy, local: list[IPNetwork]) -> None:
    """A rule for somebody holds of him as an unscoped one does, and of others not at all."""
    tables = compile_tables(policy, local=local)
    with DataPlane(policy, tables) as plane:
        for _ in range(25):
            who = data.draw(whos)
            assert plane.find_who(who) & _used(tables) == tables.scopes.of(who), who
            flow = replace(data.draw(flows_near(policy)), who=who)
            meant = replace(policy, rules=tuple(_for(who, policy.rules)))
            want = decide(meant, replace(flow, who=Who()), local=local)
            if flow.transport is Transport.DNS:
                message = question(wire(flow.names[0]))
                found = plane.read_name(message, 12, who=who).judged
                got = (tuple(Action)[found.policy], tuple(Action)[found.applied])
            elif flow.ip and flow.transport is not Transport.OTHER:
                judged = plane.decide(flow)
                assert judged.reason is want.reason, flow
                got = (judged.policy, judged.applied)
            else:
                continue
            event(f"{want.reason.value}, scoped: {len(meant.rules) < len(policy.rules)}")
            assert got == (want.policy, want.applied), flow


def _for(who: Who, rules: Iterable[Rule]) -> Iterator[Rule]:
    """Those that hold of ``who``, for everybody: where something is not known, denies do."""
    for rule in rules:
        if rule.scope.covers(who, unknown=rule.action is Action.DENY):
            yield replace(rule, scope=EVERYBODY)


def _used(tables: Tables) -> int:
    return (1 << len(tables.conditions)) - 1


@loads
@given(
    st.data(),
    policies,
    local_networks,
    st.sampled_from(Mode),
    st.sampled_from(Leak),
)
def test_secrets(
    data: st.DataObject, policy: Policy, local: list[IPNetwork], mode: Mode, leak: Leak
) -> None:
    policy = replace(policy, mode=mode, leak=leak)
    secret = data.draw(st.sampled_from(SECRETS))
    tables = compile_tables(policy, local=local)
    needles = build([Needle(b"an inert value of a test", secret, "raw")])
    with DataPlane(policy, tables, needles) as plane:
        for _ in range(25):
            flow = data.draw(flows_near(policy))
            flow = replace(flow, who=as_kernel_knows(flow.who))
            if not flow.ip or flow.transport not in (Transport.TCP, Transport.UDP):
                continue
            want = judge(
                placed=secret in policy.homes,
                dest=Destination.of(
                    flow,
                    local=tables.lookup_address(flow.ip).local,
                    at_home=tables.at_home(secret, flow),
                    named=bool(tables.held(flow) & tables.allow),
                    sink=tables.is_sink(flow),
                    address_named=bool(tables.lookup_address(flow.ip).vector),
                ),
                mode=mode,
                leak=leak,
            )
            event(want.value)
            judged = plane.decide(flow, marked=True)
            assert judged.carriage is want, flow
            if want is Carriage.KILL:
                assert judged.applied is Action.DENY
