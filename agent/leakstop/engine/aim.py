# SPDX-License-Identifier: MIT
"""Where an attempt goes: as the policy judges it, and as people read it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from leakstop.detect.detector import Attempt
from leakstop.engine.names import Names
from leakstop.model.channel import Channel
from leakstop.model.event import Connect, Question, StreamSeen, Write
from leakstop.model.flow import Flow, Stream, Transport, Who
from leakstop.model.report import at_port
from leakstop.model.verdict import Reason

_OWN = frozenset({"connect", "send"})
"""``Connect.via`` of what a program does itself and now."""
_SPOKEN = {Channel.TLS: Stream.TLS, Channel.TCP: Stream.HTTP}
"""What a connection speaks that has shown a name."""
_ANYBODY = Who()
_NO_CONNECTION = "no connection that is known"
_FAMILIES = {"packet": "a packet socket", "vsock": "a vsock socket", "xdp": "an XDP socket"}


@dataclass(frozen=True, slots=True)
class Aim:
    """Where an attempt goes."""

    flow: Flow
    """As the policy judges it."""
    host: str
    """The name to show; empty for a bare address."""
    ip: str = ""
    """The address to show; empty for a question, and for what goes nowhere yet."""
    what: str = ""
    """``FlowRecord.what``."""
    origin: str = ""
    """``FlowRecord.origin``."""
    over: str = ""
    """``FlowRecord.over``."""
    tunnelled: bool = False
    """It is asked of a proxy, which leads to addresses that nobody here knows."""


def aim_of(event: Attempt, names: Names, who: Who = _ANYBODY) -> Aim:
    """Say where ``event`` goes, with what was learned of ``names`` before, and whose it is."""
    aim = _aim(event, names)
    return replace(aim, flow=replace(aim.flow, who=who))


def _aim(event: Attempt, names: Names) -> Aim:
    if isinstance(event, Question):
        what = "" if event.name else "a DNS question without a name"
        return Aim(Flow(Transport.DNS, names=(event.name,)), event.name, what=what)
    if isinstance(event, Connect) and event.via == "socket":
        origin, what = _made(event)
        return Aim(Flow(event.transport), "", what=what, origin=origin)
    led = names.host_for(event.ip, event.pid)
    if isinstance(event, Connect):
        flow = Flow(event.transport, event.port, event.ip, names.of(event.ip))
        return Aim(flow, led, event.ip, origin="" if event.via in _OWN else event.via)
    if isinstance(event, Write):
        return _write(event, led, names)
    return _stream(event, led, names)


def _made(event: Connect) -> tuple[str, str]:
    """``FlowRecord.origin`` and ``.what`` of a socket, or of an option, that goes nowhere yet."""
    if event.reason is Reason.UNPARSABLE:  # a socket's hook knows the protocol at least
        return "option", "a socket option"
    if event.family:
        return "family", _FAMILIES.get(event.family, f"a socket of {event.family}")
    other = event.transport is Transport.OTHER
    return "socket", "a socket for another protocol" if other else "a raw socket"


def _write(event: Write, led: str, names: Names) -> Aim:
    host = event.name or led
    if not event.ip:
        return Aim(Flow(event.transport), host, what="" if host else _NO_CONNECTION)
    # As its stream has shown itself: the kernel judges a write by the connection's place.
    stream = _SPOKEN.get(event.channel, Stream.UNSEEN) if event.name else Stream.UNSEEN
    flow = Flow(event.transport, event.port, event.ip, names.of(event.ip), stream, event.name)
    return Aim(flow, host, event.ip)


def _stream(event: StreamSeen, led: str, names: Names) -> Aim:
    # Beside an encrypted name the plain one means nothing: it is made up for those who watch.
    believed = event.name if event.stream is not Stream.HIDDEN else ""
    behind = at_port(led or event.ip, event.port)
    tunnelled = event.name_port not in (0, event.port)
    if believed and tunnelled:
        asked = Flow(Transport.TCP, event.name_port, names=(event.name,))
        return Aim(asked, believed, event.ip, over=behind, tunnelled=True)
    known = names.of(event.ip)
    flow = Flow(Transport.TCP, event.port, event.ip, known, event.stream, event.name)
    strange = believed and believed not in known
    over = behind if strange else ""
    return Aim(flow, believed or led, event.ip, over=over, tunnelled=tunnelled)


__all__ = ["Aim", "aim_of"]
