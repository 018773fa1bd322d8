# SPDX-License-Identifier: MIT
"""T04-T13: whatever carries the bytes, nothing leaves that the policy does not name.

Each case is sent unguarded (the bytes do arrive, or the kernel lacks the transport), in audit
(they arrive, and the report says who sent them where), in block (nothing arrives, the sender
knows at once, one finding counts it) and as its benign twin (it passes).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bypass.case import Case
from bypass.conftest import Outcome, Scene
from bypass.senders import CASES
from lab.guard import DENIED

pytestmark = pytest.mark.root

AT_ONCE_S = 0.5
THREAT_MODEL = Path(__file__).resolve().parents[2] / "docs/threat-model.md"
CLOSED = [case for case in CASES.values() if not case.gap]
each = pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
in_each_scope = pytest.mark.parametrize(
    ("scope", "case"),
    [
        pytest.param(scope, case, id=f"{case.name}-{scope}")
        for case in CLOSED
        for scope in case.scopes
    ],
)


@each
def test_unguarded_the_bytes_arrive(scene: Scene, case: Case) -> None:
    """Else the tests below would prove nothing."""
    sent = scene.attempt(case)
    if case.opened:
        assert sent.error == "", "it cannot even be opened here"
    elif sent.error == case.absent != "":
        assert not sent.arrived, "a transport that the kernel does not have"
    else:
        assert sent.arrived, f"{sent.error}: {sent.said}"


@pytest.mark.parametrize(
    "case", [case for case in CLOSED if case.audited], ids=lambda case: case.name
)
def test_in_audit_it_passes_and_is_seen(scene: Scene, case: Case) -> None:
    sent = scene.attempt(case, scope=case.scopes[0], mode="audit")
    if sent.error == case.absent != "":
        return  # test_unguarded_the_bytes_arrive has shown why
    assert sent.arrived or case.opened, f"audit must not stop it: {sent.error}: {sent.said}"
    assert {flow["applied"] for flow in denied(sent, case)} == {"allow"}, explain(sent, case)


@in_each_scope
def test_in_block_nothing_leaves(scene: Scene, scope: str, case: Case) -> None:
    sent = scene.attempt(case, scope=scope)
    assert not sent.arrived, f"the thief has it: {sent.said}"
    assert sent.payload == 0
    if sent.error == case.absent != "":
        return
    assert sent.error in case.errors, f"told {sent.error or 'nothing'}: {sent.said}"
    assert sent.seconds < AT_ONCE_S
    if sent.error in case.unheard:
        return
    flows = denied(sent, case)
    assert [(flow["applied"], flow["count"]) for flow in flows] == [("deny", 1)], explain(
        sent, case
    )
    findings = [
        one
        for one in sent.guarded.findings()
        if not (case.also and one["destination"].startswith(case.also))
        # Senders that are root prepare the network for it, and that is told as well.
        and one["id"] != "network-changed"
    ]
    assert [(one["id"], one["count"]) for one in findings] == [("denied-flow", 1)], findings
    assert sent.guarded.code == DENIED


@in_each_scope
def test_its_benign_twin_passes(scene: Scene, scope: str, case: Case) -> None:
    sent = scene.attempt(case, scope=scope, twin=True)
    assert sent.error == "", sent.said
    assert sent.arrived != case.stays
    assert sent.guarded.findings() == [], sent.said
    assert sent.guarded.code == 0


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.gap], ids=lambda case: case.name
)
def test_a_gap_is_as_the_threat_model_says(scene: Scene, case: Case) -> None:
    assert f"\n| {case.gap} |" in THREAT_MODEL.read_text()
    for scope in case.scopes:
        assert scene.attempt(case, scope=scope).arrived, "closed? Then say so"


def denied(sent: Outcome, case: Case) -> list[dict[str, Any]]:
    """The flows that the policy does not name, as far as they are this case's."""
    return [
        flow
        for flow in sent.guarded.report["flows"]
        if flow["policy_verdict"] == "deny" and _is_of(flow, case)
    ]


def _is_of(flow: dict[str, Any], case: Case) -> bool:
    process = flow["process"]
    by_us = process and (case.name in process["argv"] or case.name.startswith(("bash", "reverse")))
    if case.at_socket and flow["ip"] in ("", "::", case.to):
        return bool(by_us)
    where = (flow["ip"], flow["port"], flow["protocol"])
    return bool(by_us) and where == (case.to, case.port, case.protocol)


def explain(sent: Outcome, case: Case) -> str:
    """What the report holds instead."""
    keys = ("ip", "port", "protocol", "policy_verdict", "applied", "reason", "count")
    flows = [[flow[key] for key in keys] for flow in sent.guarded.report["flows"]]
    return f"{case.name} to {case.to}:{case.port}, the report has {flows}; {sent.said}"
