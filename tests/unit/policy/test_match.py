# SPDX-License-Identifier: MIT
"""What a policy means: the order, the places, the protocols."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, Mode, Reason
from leakstop.policy.match import at_home, decide, is_sink, judge, plain_network, reaches
from leakstop.policy.rules import Policy, Protocol, Rule
from leakstop.policy.tables import compile_tables
from unit.policy.rulebook import allow, deny, home, icmp, lookup, other, tcp, udp

ALL = (1, 65535)


def reason(rules: list[Rule], flow: Flow, *local: str) -> Reason:
    networks = [ip_network(text) for text in local]
    return decide(Policy(rules=tuple(rules)), flow, local=networks).reason


@pytest.mark.parametrize(
    ("mode", "applied"), [(Mode.AUDIT, Action.ALLOW), (Mode.BLOCK, Action.DENY)]
)
def test_what_no_rule_names_is_denied_by_the_policy_and_treated_by_the_mode(
    mode: Mode, applied: Action
) -> None:
    verdict = decide(Policy(mode=mode), tcp("api.example.test"))
    assert (verdict.policy, verdict.applied) == (Action.DENY, applied)
    assert (verdict.reason, verdict.rule) == (Reason.NOT_NAMED, None)


@pytest.mark.parametrize("mode", Mode)
def test_a_deny_acts_in_both_modes_and_beats_every_allow(mode: Mode) -> None:
    rules = (allow("paste.test"), deny("**.test"), deny("paste.test", line=3))
    verdict = decide(Policy(mode=mode, rules=rules), tcp("paste.test"))
    assert (verdict.policy, verdict.applied) == (Action.DENY, Action.DENY)
    assert verdict.reason is Reason.DENY_RULE
    assert verdict.rule == rules[2].ref


@pytest.mark.parametrize("mode", Mode)
def test_an_allow_acts_in_both_modes(mode: Mode) -> None:
    rule = allow("api.example.test")
    verdict = decide(Policy(mode=mode, rules=(rule,)), tcp("api.example.test"))
    assert (verdict.policy, verdict.applied) == (Action.ALLOW, Action.ALLOW)
    assert (verdict.reason, verdict.rule) == (Reason.ALLOW_RULE, rule.ref)


@pytest.mark.parametrize(
    ("written", "covered", "not_covered"),
    [
        ("b.test", ["b.test"], ["a.b.test", "ab.test", "test", "b.test.a", "b"]),
        ("*.b.test", ["a.b.test"], ["b.test", "c.a.b.test", "ab.test", "a.ab.test", ".b.test"]),
        ("**.b.test", ["a.b.test", "c.a.b.test", "b.test.b.test"], ["b.test", "ab.test", "a.b"]),
        ("192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.2", "::192.0.2.1"]),
        ("192.0.2.0/30", ["192.0.2.0", "192.0.2.3"], ["192.0.2.4", "192.0.1.255"]),
        ("2001:db8::/32", ["2001:db8:ffff::1"], ["2001:db9::", "192.0.2.1"]),
        ("::ffff:192.0.2.0/127", ["192.0.2.1"], ["192.0.2.2", "::1:192.0.2.1"]),
        ("::/0", ["2001:db8::1"], ["192.0.2.1", "::ffff:192.0.2.1"]),
        ("0.0.0.0/0", ["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1"]),
    ],
)
def test_what_a_place_covers(written: str, covered: list[str], not_covered: list[str]) -> None:
    rules = [allow(written)]
    assert {target: reason(rules, tcp(target)) for target in covered} == dict.fromkeys(
        covered, Reason.ALLOW_RULE
    )
    assert {target: reason(rules, tcp(target)) for target in not_covered} == dict.fromkeys(
        not_covered, Reason.NOT_NAMED
    )


def test_an_address_is_named_by_every_name_that_led_to_it() -> None:
    shared = tcp("192.0.2.1", 443, "other.test", "api.test")
    assert reason([allow("api.test")], shared) is Reason.ALLOW_RULE
    assert (
        reason([allow("api.test"), deny("other.test", (443, 443), protocol=Protocol.TCP)], shared)
        is Reason.DENY_RULE
    )


@pytest.mark.parametrize(
    ("rule", "matching", "missing"),
    [
        (
            allow("a.test"),
            [tcp("a.test"), lookup("a.test")],
            [tcp("a.test", 80), udp("a.test", 443), icmp("a.test"), other("a.test")],
        ),
        (
            allow("a.test", (80, 80), (8000, 8010), protocol=Protocol.TCP),
            [tcp("a.test", 80), tcp("a.test", 8000), tcp("a.test", 8010), lookup("a.test")],
            [tcp("a.test", 7999), tcp("a.test", 8011), tcp("a.test", 0)],
        ),
        (allow("a.test", (80, 80), protocol=Protocol.HTTP), [tcp("a.test", 80)], [tcp("a.test")]),
        (
            allow("a.test", (443, 443), protocol=Protocol.UDP),
            [udp("a.test", 443), lookup("a.test")],
            [tcp("a.test"), udp("a.test", 53)],
        ),
        (
            allow("a.test", protocol=Protocol.ICMP),
            [icmp("a.test"), lookup("a.test")],
            [tcp("a.test"), other("a.test")],
        ),
        (
            allow("a.test", protocol=Protocol.DNS),
            [lookup("a.test")],
            [tcp("a.test", 53), udp("a.test", 53), icmp("a.test"), lookup("b.a.test")],
        ),
    ],
)
def test_what_an_allow_lets_be_spoken(
    rule: Rule, matching: list[Flow], missing: list[Flow]
) -> None:
    assert {reason([rule], flow) for flow in matching} == {Reason.ALLOW_RULE}
    assert Reason.ALLOW_RULE not in {reason([rule], flow) for flow in missing}


@pytest.mark.parametrize(
    ("rule", "matching", "missing"),
    [
        (
            deny("a.test"),
            [
                tcp("a.test", 1),
                udp("a.test", 65535),
                icmp("a.test"),
                other("a.test"),
                lookup("a.test"),
            ],
            [tcp("b.a.test"), lookup("b.a.test")],
        ),
        (
            deny("a.test", ALL, protocol=Protocol.TCP),
            [tcp("a.test", 443)],
            [udp("a.test", 443), lookup("a.test")],
        ),
        (
            deny("a.test", protocol=Protocol.DNS),
            [lookup("a.test")],
            [tcp("a.test", 443), udp("a.test", 53)],
        ),
    ],
)
def test_what_a_deny_takes_away(rule: Rule, matching: list[Flow], missing: list[Flow]) -> None:
    assert {reason([rule], flow) for flow in matching} == {Reason.DENY_RULE}
    assert Reason.DENY_RULE not in {reason([rule], flow) for flow in missing}


def test_a_question_is_judged_by_the_name_that_was_asked() -> None:
    # Names that the answer carries along are no rule's business, nor is the resolver's address.
    chained = Flow(Transport.DNS, ip="192.0.2.53", names=("asked.test", "alias.test"))
    assert reason([allow("alias.test"), allow("192.0.2.53")], chained) is Reason.NOT_NAMED
    assert reason([allow("asked.test"), deny("alias.test")], chained) is Reason.ALLOW_RULE
    assert reason([allow("**.test")], Flow(Transport.DNS)) is Reason.NOT_NAMED


def test_only_a_rule_for_everything_reaches_other_protocols() -> None:
    assert reason([allow("192.0.2.1", ALL)], other("192.0.2.1")) is Reason.PROTOCOL
    assert reason([deny("192.0.2.1")], other("192.0.2.1")) is Reason.DENY_RULE
    assert reason([], icmp("192.0.2.1")) is Reason.NOT_NAMED


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "172.18.0.2"]
)
def test_what_stays_on_this_machine_needs_no_rule(ip: str) -> None:
    for flow in (tcp(ip, 5432), udp(ip, 53), icmp(ip), other(ip)):
        assert reason([], flow, "172.18.0.0/16") is Reason.LOCAL


@pytest.mark.parametrize("ip", ["172.19.0.1", "128.0.0.1", "::2", "0.0.0.1"])
def test_next_to_this_machine_is_off_it(ip: str) -> None:
    assert reason([], tcp(ip), "172.18.0.0/16") is Reason.NOT_NAMED


def test_a_local_network_may_be_written_in_its_mapped_form() -> None:
    assert reason([], tcp("172.18.0.2"), "::ffff:172.18.0.0/112") is Reason.LOCAL


def test_a_local_address_is_denied_by_address_but_never_by_name() -> None:
    flow = tcp("127.0.0.1", 8080, "ads.test")
    by_name = deny("ads.test", (8080, 8080), protocol=Protocol.TCP)
    assert reason([by_name], flow) is Reason.LOCAL
    assert reason([by_name], tcp("192.0.2.1", 8080, "ads.test")) is Reason.DENY_RULE
    assert reason([deny("127.0.0.0/8")], flow) is Reason.DENY_RULE
    assert reason([deny("127.0.0.1", (80, 80), protocol=Protocol.TCP)], flow) is Reason.LOCAL


def test_the_narrowest_rule_is_the_one_that_is_named() -> None:
    narrowest_first = [
        allow("a.b.test"),
        allow("a.b.test", (443, 444)),
        allow("a.b.test", ALL, protocol=Protocol.TCP),
        allow("192.0.2.1"),
        allow("192.0.2.0/24"),
        allow("*.b.test"),
        allow("**.b.test"),
        allow("**.test"),
        allow("**.test", ALL, protocol=Protocol.TCP),
    ]
    flow = tcp("192.0.2.1", 443, "a.b.test")
    for index, rule in enumerate(narrowest_first):
        policy = Policy(rules=tuple(reversed(narrowest_first[index:])))
        assert judge(policy, flow)[1] is rule


def test_of_two_equal_allows_the_first_is_named() -> None:
    first, second = allow("a.test", line=1), allow("a.test", line=2)
    assert decide(Policy(rules=(first, second)), tcp("a.test")).rule == first.ref


def test_a_quiet_deny_of_one_host_stays_quiet_under_a_loud_one_of_its_zone() -> None:
    wide, narrow = deny("**.sink.test"), deny("usage.sink.test", quiet=True)
    policy = Policy(rules=(wide, narrow))
    assert decide(policy, tcp("usage.sink.test")).quiet
    assert not decide(policy, tcp("other.sink.test")).quiet


def test_of_two_equal_denies_the_loud_one_counts() -> None:
    quiet, loud = deny("a.test", quiet=True, line=1), deny("a.test", line=2)
    verdict = decide(Policy(rules=(quiet, loud)), tcp("a.test"))
    assert (verdict.quiet, verdict.rule) == (False, loud.ref)


def test_judge_hands_out_the_whole_rule() -> None:
    rule = allow("a.test")
    assert judge(Policy(rules=(rule,)), tcp("a.test"))[1] is rule
    assert judge(Policy(rules=(rule,)), tcp("b.test"))[1] is None


def test_a_secret_is_at_home_where_its_home_says_and_nowhere_else() -> None:
    policy = Policy(
        homes={"TOKEN": home(allow("api.test"), allow("192.0.2.0/24", (8443, 8443)))}
        | {"KEY": home()}
    )
    assert at_home(policy, "TOKEN", tcp("api.test"))
    assert at_home(policy, "TOKEN", lookup("api.test"))
    assert at_home(policy, "TOKEN", tcp("192.0.2.9", 8443))
    assert not at_home(policy, "TOKEN", tcp("api.test", 80))
    assert not at_home(policy, "TOKEN", tcp("evil.api.test"))
    assert not at_home(policy, "KEY", tcp("api.test"))
    assert not at_home(policy, "UNPLACED", tcp("api.test"))


def test_nowhere_is_nowhere_whatever_else_is_written() -> None:
    policy = Policy(homes={"KEY": replace(home(allow("api.test")), nowhere=True)})
    assert not at_home(policy, "KEY", tcp("api.test"))
    assert compile_tables(policy).homes == {"KEY": 0}


def test_a_home_opens_nothing_and_an_allow_is_no_home() -> None:
    policy = Policy(rules=(allow("cdn.test"),), homes={"TOKEN": home(allow("api.test"))})
    assert decide(policy, tcp("api.test")).reason is Reason.NOT_NAMED
    assert not at_home(policy, "TOKEN", tcp("cdn.test"))


def test_a_sink_is_known_whatever_is_spoken_and_denies_nothing() -> None:
    policy = Policy(sinks=(deny("**.paste.test"),))
    for flow in (tcp("x.paste.test", 8080), lookup("x.paste.test"), udp("x.paste.test", 53)):
        assert is_sink(policy, flow)
        assert decide(policy, flow).reason is Reason.NOT_NAMED
    assert not is_sink(policy, tcp("paste.test"))


def test_reaches_names_the_narrowest_rule() -> None:
    wide, narrow = allow("**.test"), allow("a.test")
    assert reaches([wide, narrow], tcp("a.test")) is narrow
    assert reaches([wide, narrow], tcp("a.example")) is None


def test_networks_of_mapped_addresses_are_ipv4() -> None:
    assert plain_network(ip_network("::ffff:192.0.2.0/120")) == ip_network("192.0.2.0/24")
    assert plain_network(ip_network("::ffff:0:0/96")) == ip_network("0.0.0.0/0")
    for kept in ("::fffe:0:0/95", "::/0", "2001:db8::/96", "192.0.2.0/24"):
        assert plain_network(ip_network(kept)) == ip_network(kept)


def test_a_text_that_is_no_address_is_an_error_and_not_a_flow_without_rules() -> None:
    with pytest.raises(ValueError, match="no-address"):
        decide(Policy(), Flow(Transport.TCP, 443, "no-address"))


def test_a_name_allowed_exactly_is_ones_own_place_among_strangers() -> None:
    policy = Policy(
        rules=(allow("acme.store.test"), allow("*.pages.test")),
        sinks=(deny("**.store.test"), deny("**.pages.test")),
    )
    assert not is_sink(policy, tcp("acme.store.test"))
    assert is_sink(policy, tcp("other.store.test"))
    assert is_sink(policy, tcp("acme.pages.test"))
    assert is_sink(policy, tcp("192.0.2.1", 443, "acme.store.test", "other.store.test"))
    assert not is_sink(policy, lookup("acme.store.test"))
