# SPDX-License-Identifier: MIT
"""A name pointed to an address that a name may not open.

Why: whoever owns a name decides where it leads, also to the address at which a cloud machine
hands out its credentials. Then an allowed name would be a way inside.
Sees: answers with a private address, of a name that no rule allows exactly, and of any name
with addresses that are link-local, reserved, or those of a metadata service.
Quiet when: a rule allows the address itself, the address is this machine's, or it is 0.0.0.0
or ::, with which resolvers that filter answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from leakstop.detect.advice import destination_rule
from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.model.event import Answer
from leakstop.model.finding import Finding, Severity
from leakstop.model.flow import Flow, Transport
from leakstop.model.process import UNKNOWN
from leakstop.policy.special import Belief, special_networks

META = DetectorMeta(
    id="refused-answer",
    title="A name pointed where it may not lead",
    severity=Severity.MEDIUM,
    needs=(Answer,),
    incident="CVE-2018-5702, January 2018: a stranger's name that led to a service inside",
    since="0.1.0",
)

_NEVER = tuple(network for network, belief in special_networks() if belief is Belief.NONE)


class RefusedAnswer(Detector[Answer]):
    """Reports a name once for each set of addresses."""

    meta = META

    def on_event(self, event: Answer, context: Context) -> Iterator[Sighting]:
        """Look at one answer."""
        refused = {text: ip_address(text) for text in event.refused}
        places = sorted(text for text, address in refused.items() if not address.is_unspecified)
        if not places:
            return
        never = any(refused[text] in network for text in places for network in _NEVER)
        finding = Finding(
            id=META.id,
            severity=META.severity if never else Severity.INFO,
            title=META.title,
            process=UNKNOWN,
            destination=event.name,
            secret="",
            encoding="",
            step="",
            action_taken=(
                f"It pointed to {', '.join(places)}, and opened nothing there: a connection is "
                "judged as if no name had led to it."
            ),
            what_to_do=_NEVER_ADVICE if never else _advice(event.name, context),
            ts_ns=event.ts_ns,
        )
        yield Sighting((event.name, *places), finding)


_NEVER_ADVICE = (
    "No name opens such an address. If the job needs it, allow the address itself; if not, find "
    "out who owns this name, and why a program asked for it."
)


def _advice(name: str, context: Context) -> str:
    line = destination_rule(Flow(Transport.TCP, 443), name)
    sources = context.policy.sources
    where = f" in {sources[0]}" if sources else ""
    add = f"add under `allow:`{where}: `- {line}`" if line else "allow the address itself"
    return (
        f"If this host is yours, {add}. A wildcard does not open private addresses, a rule for "
        "exactly this name does. If it is not, find out why a stranger's name points inside."
    )
