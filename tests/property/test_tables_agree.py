# SPDX-License-Identifier: MIT
"""The compiled tables say what the policy means, and the policy means what its order says."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from ipaddress import IPv4Address, IPv6Address
from operator import or_
from random import Random

from hypothesis import event, given, settings
from hypothesis import strategies as st

from leakstop.model.flow import Flow, Transport, Who
from leakstop.model.verdict import Action, Mode, Reason, RuleRef
from leakstop.policy.canonical import from_canonical, to_canonical, with_digest
from leakstop.policy.closure import cut_ports
from leakstop.policy.match import at_home, decide, for_others, is_sink, plain_network
from leakstop.policy.rules import (
    AddressPlace,
    IPNetwork,
    NamePlace,
    Policy,
    PortRange,
    Protocol,
    Reach,
    Rule,
    tidy,
)
from leakstop.policy.scopes import EVERYBODY
from leakstop.policy.tables import compile_tables
from property.strategies import (
    SECRETS,
    addresses,
    allows,
    denies,
    flows_near,
    local_networks,
    name_places,
    names,
    networks,
    policies,
    port_ranges,
    situations,
    whos,
)

fixed = settings(derandomize=True, database=None, deadline=None, max_examples=80)


@settings(fixed, max_examples=160)
@given(st.data(), policies, local_networks)
def test_the_tables_decide_as_the_reference_does(
    data: st.DataObject, policy: Policy, local: list[IPNetwork]
) -> None:
    tables = compile_tables(policy, local=local)
    for _ in range(6):
        flow = data.draw(flows_near(policy))
        verdict = decide(policy, flow, local=local)
        event(verdict.reason.value)
        assert tables.decide(flow) == (verdict.policy, verdict.reason)
        assert tables.is_sink(flow) == is_sink(policy, flow)
        for secret in SECRETS:
            home = at_home(policy, secret, flow)
            assert tables.at_home(secret, flow) == home
            if home:
                event("at home")


@fixed
@given(policies, whos)
def test_whom_a_rule_is_for_falls_into_the_three_parts_of_the_kernel(
    policy: Policy, who: Who
) -> None:
    met = compile_tables(policy).scopes
    step = met.of_step(who.steps, runner=who.runner)
    program = met.of_program(who.process)
    assert met.of(who) == step & program & met.of_container(who.container)
    if who.process:
        bare = who.process.rpartition("/")[2]
        added = (met.programs.get(name, 0) for name in {who.process, bare} if name)
        assert program == reduce(or_, added, met.of_program("/"))


@fixed
@given(situations(), whos)
def test_who_is_not_known_has_the_least_right(situation: tuple[Policy, Flow], who: Who) -> None:
    policy, flow = situation
    unknown, known = replace(flow, who=Who(None, "", None)), replace(flow, who=who)
    here, there = decide(policy, unknown), decide(policy, known)
    assert here.policy is Action.DENY or there.policy is Action.ALLOW
    for secret in SECRETS:
        assert at_home(policy, secret, known) or not at_home(policy, secret, unknown)


@fixed
@given(situations(), whos)
def test_whose_a_flow_is_means_nothing_without_scopes(
    situation: tuple[Policy, Flow], who: Who
) -> None:
    policy, flow = situation
    open_to_all = tuple(replace(rule, scope=EVERYBODY) for rule in policy.rules)
    policy = replace(policy, rules=open_to_all)
    assert decide(policy, flow) == decide(policy, replace(flow, who=who))
    assert not compile_tables(replace(policy, homes={})).scopes.any


@fixed
@given(situations())
def test_what_is_for_others_is_an_allow_that_misses_by_who_alone(
    situation: tuple[Policy, Flow],
) -> None:
    policy, flow = situation
    if decide(policy, flow).policy is Action.ALLOW:
        return
    rule = for_others(policy.rules, flow)
    if rule is None:
        return
    assert rule in policy.rules and rule.scope != EVERYBODY and not rule.scope.runner
    event("for others")
    freed = replace(policy, rules=tuple(_freed(each) for each in policy.rules))
    assert decide(freed, flow).policy is Action.ALLOW


@fixed
@given(situations(), allows)
def test_one_more_allow_denies_nothing_more(situation: tuple[Policy, Flow], more: Rule) -> None:
    policy, flow = situation
    wider = replace(policy, rules=(*policy.rules, more))
    before, after = decide(policy, flow), decide(wider, flow)
    assert after.policy is Action.ALLOW or before.policy is Action.DENY
    assert after.applied is Action.ALLOW or before.applied is Action.DENY


@fixed
@given(situations(), denies)
def test_one_more_deny_allows_nothing_more(situation: tuple[Policy, Flow], more: Rule) -> None:
    policy, flow = situation
    stricter = replace(policy, rules=(*policy.rules, more))
    before, after = decide(policy, flow), decide(stricter, flow)
    assert after.policy is Action.DENY or before.policy is Action.ALLOW
    assert after.applied is Action.DENY or before.applied is Action.ALLOW


@fixed
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_rules_means_nothing(situation: tuple[Policy, Flow], random: Random) -> None:
    policy, flow = situation
    shuffled = list(policy.rules)
    random.shuffle(shuffled)
    there, here = decide(replace(policy, rules=tuple(shuffled)), flow), decide(policy, flow)
    assert (there.policy, there.applied, there.reason) == (here.policy, here.applied, here.reason)
    assert there.quiet == here.quiet


@fixed
@given(situations())
def test_the_mode_decides_only_what_no_rule_names(situation: tuple[Policy, Flow]) -> None:
    policy, flow = situation
    audit = decide(replace(policy, mode=Mode.AUDIT), flow)
    block = decide(replace(policy, mode=Mode.BLOCK), flow)
    assert (audit.policy, audit.reason, audit.rule) == (block.policy, block.reason, block.rule)
    assert block.applied is block.policy
    named = audit.reason not in (Reason.NOT_NAMED, Reason.PROTOCOL, Reason.IDENTITY)
    assert audit.applied is (audit.policy if named else Action.ALLOW)


@fixed
@given(situations(), local_networks)
def test_the_rule_that_is_named_decides_alone(
    situation: tuple[Policy, Flow], local: list[IPNetwork]
) -> None:
    policy, flow = situation
    verdict = decide(policy, flow, local=local)
    if verdict.rule is None:
        assert verdict.reason not in (Reason.ALLOW_RULE, Reason.DENY_RULE)
        return
    if flow.shown and verdict.policy is Action.ALLOW:
        # Two rules decide of it, one for the address and one for the name; named is the latter.
        flow = replace(flow, names=(flow.shown, *flow.names))
    alone = [rule for rule in policy.rules if rule.ref == verdict.rule]
    again = decide(replace(policy, rules=tuple(alone)), flow, local=local)
    assert (again.policy, again.reason) == (verdict.policy, verdict.reason)


@fixed
@given(name_places, names)
def test_a_wildcard_counts_whole_labels(place: NamePlace, name: str) -> None:
    labels, base = name.split("."), place.name.split(".")
    depth = len(labels) - len(base)
    below = depth >= 0 and labels[depth:] == base
    meant = {Reach.EXACT: depth == 0, Reach.ONE: depth == 1, Reach.DEEP: depth >= 1}
    assert place.covers(name) == (below and meant[place.reach])


@fixed
@given(st.lists(name_places, min_size=1, max_size=8), names)
def test_the_trie_of_names_holds_what_every_shorter_prefix_says(
    written: list[NamePlace], name: str
) -> None:
    # A port of its own makes every place a condition of its own, in this order.
    rules = [
        Rule(Action.ALLOW, place, Protocol.TCP, (PortRange(port, port),), RuleRef("", ""))
        for port, place in enumerate(written, start=1)
    ]
    covering = (1 << bit for bit, place in enumerate(written) if place.covers(name))
    assert compile_tables(Policy(rules=tuple(rules))).lookup_name(name) == sum(covering)


@fixed
@given(st.lists(networks, min_size=1, max_size=8), addresses)
def test_the_trie_of_networks_keeps_the_two_families_apart(
    written: list[IPNetwork], address: IPv4Address | IPv6Address
) -> None:
    tables = compile_tables(Policy(), local=written)
    flow = Flow(Transport.TCP, 443, str(address))
    assert tables.lookup_address(str(address)).local == (
        decide(Policy(), flow, local=written).reason is Reason.LOCAL
    )


@fixed
@given(st.lists(st.lists(port_ranges, min_size=1, max_size=4), max_size=4), st.booleans())
def test_ports_are_cut_into_prefixes_that_do_not_overlap(
    written: list[list[PortRange]], everywhere: bool
) -> None:
    always = 1 << len(written) if everywhere else 0
    cut = cut_ports(
        [(ports, 1 << bit) for bit, ranges in enumerate(written) for ports in tidy(ranges)],
        always,
    )
    found = dict.fromkeys(range(65536), 0)
    for first, length, vector in cut:
        assert first % (1 << 16 - length) == 0
        for port in range(first, first + (1 << 16 - length)):
            assert found[port] == 0
            found[port] = vector
    edges = {edge for ranges in written for ports in ranges for edge in (ports.first, ports.last)}
    for port in {0, 65535} | {near for edge in edges for near in (edge - 1, edge, edge + 1)}:
        if port <= 65535:
            holds = (1 << bit for bit, ranges in enumerate(written) if _on(ranges, port))
            assert found[port] == sum(holds) | always


@fixed
@given(situations(), local_networks)
def test_a_policy_means_the_same_after_its_way_to_the_root_process(
    situation: tuple[Policy, Flow], local: list[IPNetwork]
) -> None:
    policy, flow = situation
    policy = replace(policy, rules=tuple(map(_as_parsed, policy.rules)), sinks=(), homes={})
    arrived = from_canonical(to_canonical(policy))
    assert arrived == with_digest(policy)
    assert decide(arrived, flow, local=local) == decide(policy, flow, local=local)


def _as_parsed(rule: Rule) -> Rule:
    """The parser writes a mapped network as the IPv4 network that it is."""
    if isinstance(rule.place, NamePlace):
        return rule
    return replace(rule, place=AddressPlace(plain_network(rule.place.network)))


def _freed(rule: Rule) -> Rule:
    """What ``rule`` would be, were it for everybody; nothing if it denies."""
    if rule.action is Action.DENY:
        return replace(rule, action=Action.ALLOW, place=NamePlace("nowhere"), protocol=Protocol.DNS)
    return replace(rule, scope=EVERYBODY)


def _on(ranges: list[PortRange], port: int) -> bool:
    return any(port in ports for ports in ranges)
