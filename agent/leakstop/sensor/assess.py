# SPDX-License-Identifier: MIT
"""What the kernel's programs would have said, for a sensor that can only look.

Policy, names and secrets come together here. ``applied`` is always ``allow``, and a secret that
the kernel would have held back is a leak that was let go: it has happened by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leakstop.model.event import Answer, Connect, Question, SecretHit
from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, Carriage, Mode, Reason
from leakstop.policy import match
from leakstop.secrets.masker import Masker
from leakstop.sensor import proc
from leakstop.sensor.carried import carriage_of
from leakstop.sensor.connections import Connection
from leakstop.sensor.heard import Answered, Asked
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.timer import now_ns

_DNS_PORT = 53
_MAX_ADDRESSES = 10_000
"""Addresses whose names are kept; one more forgets the oldest."""
_MAX_NAMES = 64
"""Names of one address, the latest."""
_MAX_ASKED = 4_096
"""Questions that wait for their answer, likewise."""


class Assessor:
    """Turns observations into events. Nothing leaves it with a secret in it."""

    def __init__(self, plan: GuardPlan) -> None:
        self._plan = plan
        self._masker = Masker(plan.secrets)
        self._asked: dict[tuple[str, int, int, str], None] = {}
        self._names: dict[str, tuple[str, ...]] = {}

    # -- command lines ------------------------------------------------------------------

    def hits(self, argv: Sequence[bytes]) -> tuple[SecretHit, ...]:
        """Secrets on a command line. As one text: a value may hold the NUL between arguments."""
        return self._plan.needles.scan(_joined(argv))

    def shown(self, argv: Sequence[bytes]) -> tuple[str, ...]:
        """A command line without them."""
        masked = self._masker.mask_bytes(_joined(argv), cut=False)
        return tuple(map(proc.text, proc.split_nul(masked)))

    def masked(self, text: str) -> str:
        """Any other text without them."""
        return self._masker.mask(text, cut=False)

    # -- DNS ----------------------------------------------------------------------------

    def question(self, asked: Asked, pid: int, hits: tuple[SecretHit, ...]) -> Question:
        """Judge a question of a process that has ``hits`` on its command line."""
        self._asked[asked.resolver, asked.port, asked.number, asked.name] = None
        if len(self._asked) > _MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        flow = Flow(Transport.DNS, names=(asked.name.lower(),))
        in_name = self._hits_in(asked.name)
        verdict = match.decide(self._plan.policy, flow, local=self._plan.local)
        return Question(
            ts_ns=now_ns(),
            pid=pid,
            name=self._shown_name(asked.name, in_name),
            qtype=asked.qtype,
            resolver=asked.resolver,
            policy=verdict.policy,
            applied=Action.ALLOW,
            reason=verdict.reason,
            carriage=self._carriage(in_name or hits, flow, verdict.reason, in_name=bool(in_name)),
            hits=in_name or hits,
            in_name=bool(in_name),
        )

    def answer(self, answered: Answered) -> Answer | None:
        """Learn from an answer to a question that was asked, by the one who was asked."""
        question = (answered.resolver, answered.port, answered.number, answered.name)
        if answered.resolver not in self._plan.resolvers or question not in self._asked:
            return None
        del self._asked[question]
        name = answered.name.lower()
        for address in answered.addresses:
            others = (known for known in self._names.pop(address, ()) if known != name)
            self._names[address] = (*others, name)[-_MAX_NAMES:]
        while len(self._names) > _MAX_ADDRESSES:
            del self._names[next(iter(self._names))]
        shown = self._shown_name(answered.name, self._hits_in(answered.name))
        return Answer(now_ns(), shown, answered.addresses, answered.ttl_s)

    # -- connections --------------------------------------------------------------------

    def connect(self, connection: Connection, hits: tuple[SecretHit, ...]) -> Connect:
        """Judge a connection of a process that has ``hits`` on its command line."""
        names = self._names.get(connection.ip, ())
        flow = Flow(connection.transport, connection.port, connection.ip, names)
        if connection.port == _DNS_PORT and connection.ip in self._plan.resolvers:
            # What is asked there is judged, not that it is asked there.
            policy, reason, carriage = Action.ALLOW, Reason.RESOLVER, Carriage.NONE
        else:
            verdict = match.decide(self._plan.policy, flow, local=self._plan.local)
            policy, reason = verdict.policy, verdict.reason
            carriage = self._carriage(hits, flow, reason)
        return Connect(
            ts_ns=now_ns(),
            pid=connection.pid,
            transport=connection.transport,
            ip=connection.ip,
            port=connection.port,
            via="connect",
            policy=policy,
            applied=Action.ALLOW,
            reason=reason,
            carriage=carriage,
            hits=hits,
        )

    # -- secrets ------------------------------------------------------------------------

    def _carriage(
        self, hits: Iterable[SecretHit], flow: Flow, reason: Reason, *, in_name: bool = False
    ) -> Carriage:
        secrets = (hit.secret for hit in hits)
        worst = carriage_of(self._plan.policy, secrets, flow, reason, Mode.AUDIT, in_name=in_name)
        return Carriage.FAIL if worst is Carriage.KILL else worst

    def _hits_in(self, name: str) -> tuple[SecretHit, ...]:
        """As it is, and with the dots left out: a value may be spread over labels."""
        found = (self._plan.needles.scan(text.encode()) for text in (name, name.replace(".", "")))
        return tuple(dict.fromkeys(hit for hits in found for hit in hits))

    def _shown_name(self, name: str, hits: Sequence[SecretHit]) -> str:
        masked = self._masker.mask(name)
        joined = masked.replace(".", "")
        if hits and (masked == name or self._masker.mask(joined) != joined):
            masked = f"***{hits[0].secret}***"  # spread over labels: no part can be shown
        return masked.lower()


def _joined(argv: Sequence[bytes]) -> bytes:
    return b"".join(argument + b"\0" for argument in argv)


__all__ = ["Assessor"]
