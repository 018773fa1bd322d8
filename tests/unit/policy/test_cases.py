# SPDX-License-Identifier: MIT
"""The flow that an ``expect`` case asks about."""

from __future__ import annotations

import pytest

from leakstop.model.flow import Flow, Transport
from leakstop.policy import expect
from unit.policy.written import built


@pytest.mark.parametrize(
    ("text", "flow"),
    [
        ("a.test", Flow(Transport.TCP, 443, names=("a.test",))),
        ("a.test:8000-8010", Flow(Transport.TCP, 8000, names=("a.test",))),
        ("*.a.test", Flow(Transport.TCP, 443, names=("any.a.test",))),
        ("udp://192.0.2.53:53", Flow(Transport.UDP, 53, ip="192.0.2.53")),
        ("192.0.2.0/24", Flow(Transport.TCP, 443, ip="192.0.2.1")),
        ("2001:db8::1", Flow(Transport.TCP, 443, ip="2001:db8::1")),
        ("dns://a.test", Flow(Transport.DNS, names=("a.test",))),
        ("icmp://192.0.2.1", Flow(Transport.ICMP, ip="192.0.2.1")),
    ],
)
def test_a_destination_is_one_flow(text: str, flow: Flow) -> None:
    (case,) = built(f"expect: {{deny: '{text}'}}", cases=True).cases
    assert (case.kind, case.flow, case.secret) == ("deny", flow, "")


def test_a_word_asks_for_each_of_its_hosts() -> None:
    result = built("allow: python\nexpect: {allow: registry:pip}", cases=True)
    assert [case.flow.names for case in result.cases] == [("index.test",), ("mirror",)]
    assert {case.text for case in result.cases} == {"allow: registry:pip"}
    assert expect.run(result.policy, result.cases) == ()


def test_cases_are_built_when_they_are_asked_for() -> None:
    assert built("expect: {deny: publish:npm}", indexes={}).cases == ()


def test_a_failure_names_the_case_and_its_line() -> None:
    result = built("allow: a.test\nexpect:\n  - allow: a.test\n  - deny: a.test", cases=True)
    (failure,) = expect.run(result.policy, result.cases)
    assert str(failure).startswith("policy-1.yml:5: `deny: a.test`")


def test_a_leak_is_anywhere_but_at_home() -> None:
    text = (
        "secrets: {TOKEN: [home.test, github]}\n"
        "expect:\n  - {leak: TOKEN, to: other.test}\n  - {leak: TOKEN, to: git.test}\n"
    )
    result = built(text, cases=True)
    assert [case.secret for case in result.cases] == ["TOKEN", "TOKEN"]
    (failure,) = expect.run(result.policy, result.cases)
    assert "git.test" in str(failure)
