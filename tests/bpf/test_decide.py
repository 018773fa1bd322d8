# SPDX-License-Identifier: MIT
"""The kernel's decision is the reference's decision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from bpf.harness import DataPlane, question, wire
from leakstop.model.flow import Transport
from leakstop.model.verdict import Action, Carriage, Leak, Mode
from leakstop.policy.match import decide
from leakstop.policy.rules import IPNetwork, Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.carriage import Destination, judge
from leakstop.secrets.encodings import Needle
from leakstop.secrets.needles import build
from property.strategies import SECRETS, flows_near, local_networks, policies

pytestmark = pytest.mark.root

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
            want = decide(policy, flow, local=local)
            if flow.transport is Transport.DNS:
                found = plane.read_name(question(wire(flow.names[0])), 12)
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
