# SPDX-License-Identifier: MIT
"""What is odd about a flow, beyond where it goes: parts of sentences for people."""

from __future__ import annotations

from collections.abc import Callable

from leakstop.detect.identity import shows
from leakstop.model.flow import Stream, Transport
from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Reason

_ORIGINS = {
    "socket": "what it sends could not be judged",
    "family": "the hooks at the sockets do not see what is sent through it",
    "option": (
        "it leads packets around the guard (source routing, extension headers, a source of "
        "somebody else's, an early end of hops, a ring of a packet socket)"
    ),
    "accept": "it answers a connection that came in",
    "older": "the connection is from before the guard",
    "link": "the packet went past the sockets (packet socket, forwarded or tunnel)",
}

MADE = frozenset({"socket", "family", "option"})
"""Origins of what was asked for before there was a destination."""

_NAMED_BUT = {
    Reason.IDENTITY: "is named in the policy, but did not show itself as its rule asks",
    Reason.BUDGET: "is one name too many below its wildcard",
}

REFUSED = "was refused, and no rule can allow it"
"""What to say of what has no destination."""

Quote = Callable[[str], str]
"""Makes observed text safe for an output."""


def oddities(flow: FlowRecord, quote: Quote) -> list[str]:
    """Say what is odd about ``flow``; nothing about most."""
    said = []
    if flow.origin in _ORIGINS:
        said.append(_ORIGINS[flow.origin])
    if is_fronted(flow):
        said.append(f"the connection went to {quote(flow.over)}")
    if flow.reason is Reason.IDENTITY:
        said.append(shows(flow.stream, flow.shown))
    if flow.only_for:
        said.append(f"the policy allows it only for {quote(flow.only_for)}")
    if flow.reason is Reason.BUDGET:
        below = quote(flow.rule.text) if flow.rule else "a wildcard"
        said.append(f"more names below {below} were asked for than its rule allows")
    return said


def named_but(flow: FlowRecord) -> str:
    """What to say of a destination that a rule names, and that is denied or listed all the same;
    empty for all others."""
    if flow.only_for:
        return "is named in the policy, but for others"
    return _NAMED_BUT.get(flow.reason, "")


def is_ping(flow: FlowRecord) -> bool:
    """Whether ``flow`` is a raw socket of the kind that old pings make."""
    return flow.origin == "socket" and flow.protocol is Transport.ICMP


def is_fronted(flow: FlowRecord) -> bool:
    """Whether the stream asks for another host than the connection was made to."""
    return bool(flow.over) and not _tunnelled(flow)


def was_cut(flow: FlowRecord) -> bool:
    """Whether ``flow``, if it was denied, was so when it showed itself, and not before."""
    return flow.stream is not Stream.UNSEEN or bool(flow.over)


def through(flow: FlowRecord, quote: Quote) -> str:
    """`` through proxy.test:3128``: which proxy was asked, to stand behind the destination."""
    return f" through {quote(flow.over)}" if _tunnelled(flow) else ""


def perhaps_for(flow: FlowRecord, quote: Quote) -> str:
    """``, perhaps for curl``: who was connected to a relay, as a part of a sentence."""
    return f", perhaps for {quote(flow.relayed_for.command)}" if flow.relayed_for else ""


def _tunnelled(flow: FlowRecord) -> bool:
    """Whether ``over`` is a proxy: that is asked for other ports than its own."""
    return bool(flow.over) and not flow.over.endswith(f":{flow.port}")


__all__ = [
    "MADE",
    "REFUSED",
    "is_fronted",
    "is_ping",
    "named_but",
    "oddities",
    "perhaps_for",
    "through",
    "was_cut",
]
