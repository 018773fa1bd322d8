# SPDX-License-Identifier: MIT
"""The proposed policy: exact, foldable, and never more than a person can see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.model.flow import Stream, Transport
from leakstop.model.report import FlowRecord, Report, SecretView, StepView
from leakstop.model.verdict import Action, Reason, RuleRef
from leakstop.policy.destination import parse
from leakstop.report.context import Context
from leakstop.report.proposal import Proposal, Why
from unit.report import cases, hostile


def propose(*flows: FlowRecord, report: Report = cases.UNNAMED) -> Proposal:
    return Context.of(replace(report, flows=flows), cases.VOCABULARY).proposal


def words(*flows: FlowRecord) -> list[str]:
    return [line.word for line in propose(*flows).lines]


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (cases.flow("a.test:443"), ["a.test"]),
        (cases.flow("a.test:8443"), ["a.test:8443"]),
        (cases.flow("postgres:5432"), ["postgres:5432"]),
        (cases.flow("intranet:443"), ["intranet:443"]),
        (cases.flow("a.test:53", protocol=Transport.UDP), ["udp://a.test:53"]),
        (cases.flow("a.test:0", protocol=Transport.ICMP), ["icmp://a.test"]),
        (cases.flow("a.test", protocol=Transport.DNS), ["dns://a.test"]),
        (cases.flow("a.test", protocol=Transport.DNS, denied=True), ["a.test"]),
        (cases.flow("a.test:80"), []),
        (cases.flow("a.test:0", protocol=Transport.OTHER, reason=Reason.PROTOCOL), []),
        (cases.flow("a.test:443", reason=Reason.UNPARSABLE), []),
        (cases.flow(":443", ip="203.0.113.9"), []),
        (cases.flow("bad name.test:443"), []),
        (cases.flow("a.test:443", denied=True, reason=Reason.UNPARSABLE), []),
        (cases.flow("a.test:443", reason=Reason.LOCAL), []),
        (cases.flow("a.test:443", stream=Stream.TLS, shown="a.test"), ["a.test"]),
        (cases.flow("a.test:443", stream=Stream.TLS), ["tcp://a.test:443"]),
        (cases.flow("a.test:443", stream=Stream.OTHER), ["tcp://a.test:443"]),
        (cases.flow("a.test:22", stream=Stream.OTHER), ["a.test:22"]),
        (cases.flow("a.test:80", stream=Stream.TLS, shown="a.test"), ["https://a.test:80"]),
        (cases.flow("a.test:8080", stream=Stream.HTTP, shown="a.test"), []),
        (
            cases.flow("a.test:443", denied=True, reason=Reason.IDENTITY, stream=Stream.HIDDEN),
            ["tcp://a.test:443"],
        ),
        (cases.flow("a.test", protocol=Transport.DNS, reason=Reason.BUDGET), []),
        (cases.flow("a.test", protocol=Transport.DNS, reason=Reason.BUDGET, denied=True), []),
        (cases.flow("a.test:443", rule=cases.API), []),
    ],
)
def test_a_flow_becomes_a_line(flow: FlowRecord, expected: list[str]) -> None:
    assert words(flow) == expected


def test_every_line_is_a_destination_of_the_language() -> None:
    for line in Context.of(cases.UNNAMED, cases.VOCABULARY).proposal.lines:
        if "." in line.word or ":" in line.word:
            assert parse(line.word, Action.ALLOW, RuleRef(line.word, "test"))


def test_a_host_with_several_ports_has_several_lines() -> None:
    flows = (cases.flow("a.test:443"), cases.flow("a.test:8443"), cases.flow("a.test:443", count=9))
    assert words(*flows) == ["a.test", "a.test:8443"]


def test_one_host_of_a_preset_stays_a_host() -> None:
    assert words(cases.flow("api.forge.test:443")) == ["api.forge.test"]
    two = (cases.flow("api.forge.test:443"), cases.flow("git.forge.test:443"))
    assert words(*two) == ["github"]


def test_a_port_that_the_preset_does_not_open_stays_a_line() -> None:
    flows = [cases.flow(f"{name}.forge.test:443") for name in ("api", "git")]
    assert words(*flows, cases.flow("git.forge.test:22")) == ["github", "git.forge.test:22"]


def test_a_word_never_covers_what_it_does_not_allow() -> None:
    """The preset and the index name the host, but not what its stream turned out to be."""
    two = [cases.flow(f"{name}.forge.test:443") for name in ("api", "git")]
    hidden = replace(two[1], stream=Stream.HIDDEN)
    assert words(two[0], hidden) == ["api.forge.test", "tcp://git.forge.test:443"]
    named = cases.flow("index.mirror.test:8443", reason=Reason.IDENTITY, stream=Stream.HIDDEN)
    assert words(named) == ["tcp://index.mirror.test:8443"]


def test_hosts_of_public_sinks_are_never_folded() -> None:
    two = (cases.flow("a.store.test:443"), cases.flow("b.store.test:443"))
    assert words(*two) == ["a.store.test", "b.store.test"]


def test_an_index_is_a_word_from_the_first_host_on() -> None:
    assert words(cases.flow("index.mirror.test:8443")) == ["python"]
    assert words(cases.flow("deb.mirror.test:80")) == ["debian"]


def test_denied_hosts_are_proposed_only_when_nothing_names_them() -> None:
    rule = RuleRef("x.test", "p.yml", 3)
    named = cases.flow("x.test:443", denied=True, rule=rule, reason=Reason.DENY_RULE)
    assert words(named, cases.flow("y.test:443", denied=True)) == ["y.test"]


def test_evidence_says_where_it_was_seen() -> None:
    flows = [cases.flow("a.test:443", step=f"S{n}") for n in range(5)]
    (line,) = propose(*flows).lines
    assert line.evidence == "S0, S1, S2, … · curl".replace("…", "?")


def rules(*flows: FlowRecord) -> list[str]:
    return [line.rule for line in propose(*flows).lines]


def test_only_where_strangers_store_data_a_line_is_for_a_step() -> None:
    sink = cases.flow("a.store.test:443", step="Save cache", sink=True)
    assert rules(sink, sink) == ["{host: a.store.test, step: Save cache}"]
    assert rules(sink, replace(sink, step="Test")) == ["a.store.test"]
    assert rules(cases.flow("a.test:443", step="Save cache")) == ["a.test"]


@pytest.mark.parametrize(
    "step", ["", "__run_2", "Publish (?)", "a*", "${{ x }}", "x\ny", "\u202ex"]
)
def test_a_step_that_cannot_be_named_narrows_nothing(step: str) -> None:
    assert rules(cases.flow("a.store.test:443", step=step, sink=True)) == ["a.store.test"]


@pytest.mark.parametrize(
    ("shown", "names", "scope"),
    [
        ("Save cache", ("Save cache", "cache", "acme/cache"), ", step: Save cache"),
        ("Save ***", ("save", "acme/cache"), ", step: save"),
        ("acme/cache 2", ("acme/cache",), ", step: acme/cache"),
        ("run 2", (), ""),
        ("Publish (?)", (), ""),
    ],
)
def test_a_step_is_proposed_by_a_name_that_a_rule_goes_by(
    shown: str, names: tuple[str, ...], scope: str
) -> None:
    steps = (StepView(shown, names=names),)
    sink = cases.flow("a.store.test:443", step=shown, sink=True)
    asked = cases.flow("b.test:443", step=shown, only_for="step `Publish` (ci.yml:8)")
    whole = replace(cases.CLEAN, policy=cases.NO_POLICY, flows=(sink, asked), steps=steps)
    lines = [line.rule for line in Context.of(whole, cases.VOCABULARY).proposal.lines]
    if scope:
        assert lines == [f"{{host: a.store.test{scope}}}", f"{{host: b.test{scope}}}"]
    else:
        assert lines == ["a.store.test"]


def test_what_is_allowed_to_others_is_never_proposed_for_everybody() -> None:
    others = "step `Publish` (ci.yml:8)"
    flows = [
        cases.flow("cr.test:443", step=step, only_for=others)
        for step in ("Build: linux", "Test", "", "__run_2")
    ]
    assert rules(*flows) == [
        '{host: cr.test, step: "Build: linux"}',
        "{host: cr.test, step: Test}",
    ]
    (look,) = propose(*flows).looks
    assert look.whys == (Why.OTHERS,)
    assert propose(*flows[2:]).lines == ()


def test_a_word_that_is_allowed_to_others_stays_a_word() -> None:
    others = "step `Checkout` (ci.yml:3)"
    flows = [cases.flow(f"{name}.forge.test:443", only_for=others) for name in ("api", "git")]
    assert rules(*flows) == ["{preset: github, step: Test}"]


def test_docker_is_proposed_as_the_process_that_it_is() -> None:
    daemon = cases.process("/usr/bin/dockerd")
    asked = cases.flow("cr.test:8443", daemon, step="", only_for="step `Push` (ci.yml:8)")
    assert rules(asked) == ["{host: cr.test:8443, process: /usr/bin/dockerd}"]


def test_looks_say_why() -> None:
    looks = {
        look.flow.destination: look.whys
        for look in Context.of(cases.UNNAMED, cases.VOCABULARY).proposal.looks
    }
    assert looks == {
        "acmebuild7.store.test:443": (Why.SINK,),
        "deploy.example.test:443": (Why.SECRET,),
        "old.example.test:80": (Why.PLAIN_HTTP,),
        "203.0.113.9:8080": (Why.ADDRESS,),
        "a socket for another protocol": (Why.PROTOCOL,),
    }


def test_looks_at_what_does_not_show_itself() -> None:
    proposal = propose(*cases.STRANGE_AUDIT.flows, report=cases.STRANGE_AUDIT)
    assert {look.flow.destination: look.whys for look in proposal.looks} == {
        "evil.test:443": (Why.FRONT,),
        "api.example.test:443": (Why.TRUST,),
        "docs.example.test:8443": (Why.TRUST,),
        "203.0.113.9:8080": (Why.ADDRESS,),
        "x1.pages.test": (Why.BUDGET,),
    }


def homes(report: Report) -> dict[str, str]:
    placed = Context.of(report, cases.VOCABULARY).proposal.secrets
    return {each.secret.name: each.home for each in placed}


def test_a_secret_seen_at_one_host_is_placed_there() -> None:
    assert homes(cases.UNNAMED) == {"GITHUB_TOKEN": "", "DEPLOY_TOKEN": "deploy.example.test"}
    assert homes(cases.HOMELESS)["DEPLOY_TOKEN"] == "api.example.test"


def test_a_secret_seen_at_two_hosts_is_not_placed() -> None:
    more = cases.flow("other.test:443", secrets=("DEPLOY_TOKEN",))
    report = replace(cases.UNNAMED, flows=(*cases.UNNAMED.flows, more))
    assert homes(report)["DEPLOY_TOKEN"] == ""


def test_a_secret_seen_at_an_index_is_not_placed() -> None:
    flows = (cases.flow("index.mirror.test:8443", secrets=("DEPLOY_TOKEN",)),)
    assert homes(replace(cases.UNNAMED, flows=flows))["DEPLOY_TOKEN"] == ""


def test_a_home_from_the_input_is_kept() -> None:
    secret = SecretView("T", ("a.test",), "", "", "input")
    assert homes(replace(cases.UNNAMED, secrets=(secret,))) == {"T": "a.test"}


@pytest.mark.parametrize("payload", hostile.PAYLOADS)
def test_nothing_hostile_is_proposed(payload: str) -> None:
    proposal = Context.of(hostile.infect(cases.UNNAMED, payload), cases.VOCABULARY).proposal
    assert proposal.lines == ()
    assert all(placed.home == "" for placed in proposal.secrets)
