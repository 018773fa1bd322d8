# SPDX-License-Identifier: MIT
"""What is said of something that was found in a copy of what a connection sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from leakstop.model.channel import Channel, Tie
from leakstop.model.event import SecretFound, SecretHit, ShapeSeen, Write
from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, Carriage, Reason, Verdict
from leakstop.policy import match
from leakstop.secrets.formats import home_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.shapes import Shape
from leakstop.sensor.assembly import Sent, Source
from leakstop.sensor.carried import Belongings
from leakstop.sensor.peers import Peer, Peers
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.timer import now_ns

_CARRIAGES = tuple(Carriage)
_NOWHERE = Carriage.NONE, Peer(), Verdict(Action.ALLOW, Action.ALLOW, Reason.LOCAL)
"""As the kernel says it of a process that is connected with nobody."""


class Finds:
    """Judges where a find went, by the reference of what the kernel goes by."""

    def __init__(self, plan: GuardPlan, peers: Peers) -> None:
        self._policy = plan.policy
        self._belongings = Belongings(plan.policy)
        self._local = plan.local
        self._peers = peers

    def learn(self, found: SecretFound) -> None:
        """Know where a secret belongs that was found."""
        self._belongings.learn(found)

    def write(
        self, sent: Sent, hits: tuple[SecretHit, ...], hosts: Collection[str]
    ) -> Write | None:
        """What is to be said of secrets; nothing if they went where they belong.

        ``hosts`` are those that the requests name.
        """
        source = sent.source
        tie, name, peers = self._places(sent, hosts)
        transport = _transport(source)
        carriage, peer, verdict = self._worst(peers, transport, [hit.secret for hit in hits])
        if carriage is Carriage.NONE and peers:
            return None
        return Write(
            ts_ns=now_ns(),
            pid=source.pid,
            channel=source.channel,
            transport=transport,
            ip=peer.ip,
            port=peer.port,
            name=name or peer.name,
            tie=tie,
            library=source.library,
            size=sent.size,
            policy=verdict.policy,
            applied=Action.ALLOW,
            reason=Reason.LEAK if carriage is Carriage.KILL else verdict.reason,
            carriage=carriage,
            hits=hits,
            cookie=peer.cookie,
            late=True,
            object=source.stream if source.channel is Channel.TLS else 0,
        )

    def shape(self, sent: Sent, shape: Shape, hosts: Collection[str]) -> ShapeSeen | None:
        """What is to be said of a token that nobody declared; nothing if it stays here."""
        source = sent.source
        _, name, peers = self._places(sent, hosts)
        flows = [self._peers.flow(peer, _transport(source)) for peer in peers]
        away = [
            flow
            for flow in flows
            if match.decide(self._policy, flow, local=self._local).reason is not Reason.LOCAL
        ]
        if not away:
            return None
        # The worst of those that it may have gone to.
        flow = next((flow for flow in away if not self._belongs(shape, flow)), away[0])
        return ShapeSeen(
            ts_ns=now_ns(),
            pid=source.pid,
            format=shape.form.kind,
            channel=source.channel,
            ip=flow.ip,
            port=flow.port,
            name=name or flow.shown,
            at_home=self._belongs(shape, flow),
            certain=shape.certain,
        )

    def _belongs(self, shape: Shape, flow: Flow) -> bool:
        words = home_of(Secret("", shape.value))
        home = self._belongings.home(words)
        if home is not None:
            return not home.nowhere and match.reaches(home.rules, flow) is not None
        names = {word.partition(":")[0] for word in words} if shape.form.own_home else set()
        return not names.isdisjoint((flow.shown, *flow.names))

    def is_strange(self, sent: Sent, hosts: Collection[str]) -> bool:
        """Whether it may go to a place that no rule allows, or where anyone can store data."""
        policy, transport = self._policy, _transport(sent.source)
        _, _, peers = self._places(sent, hosts)
        flows = (self._peers.flow(peer, transport) for peer in peers)
        return any(
            match.decide(policy, flow, local=self._local).policy is Action.DENY
            or match.is_sink(policy, flow)
            for flow in flows
        )

    def _places(self, sent: Sent, hosts: Collection[str]) -> tuple[Tie, str, tuple[Peer, ...]]:
        source = sent.source
        if source.channel is Channel.TLS:
            return self._peers.of_object(source.pid, source.stream, sent.began_ns, hosts)
        peer = self._peers.of_socket(source.pid, source.stream, source.ip, source.port)
        return Tie.SOCKET, peer.name, (peer,)

    def _worst(
        self, peers: Iterable[Peer], transport: Transport, secrets: Collection[str]
    ) -> tuple[Carriage, Peer, Verdict]:
        worst = _NOWHERE
        for peer in peers:
            flow = self._peers.flow(peer, transport)
            verdict = match.decide(self._policy, flow, local=self._local)
            carriage = self._belongings.carriage_of(secrets, flow, verdict.reason)
            if worst is _NOWHERE or _CARRIAGES.index(carriage) > _CARRIAGES.index(worst[0]):
                worst = carriage, peer, verdict
        return worst


def _transport(source: Source) -> Transport:
    return Transport.UDP if source.channel is Channel.UDP else Transport.TCP


__all__ = ["Finds"]
