# SPDX-License-Identifier: MIT
"""Judges what programs did before the kernel knew what they carry.

A secret that is found when a program starts is known to the kernel a moment later. What the program
tried in between was judged as if it carried nothing: here it is judged again, by the same table.
Unless it was refused for another reason, all that is left is to end the program and to say so.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from leakstop.detect.detector import TRIES, Try
from leakstop.engine.aim import aim_of
from leakstop.engine.names import Names
from leakstop.model.event import Answer, Connect, Event, Exit, Fork, SecretFound, SecretHit
from leakstop.model.verdict import Carriage, Reason
from leakstop.sensor.carried import Belongings
from leakstop.sensor.plan import GuardPlan

_MAX_PROCESSES = 4096
_ORDER = tuple(Carriage)
_OWN = frozenset({"connect", "send"})
"""``Connect.via`` of what leads somewhere."""


class Belated:
    """Knows which processes carry something of which the kernel was told late."""

    def __init__(self, plan: GuardPlan) -> None:
        self._belongings = Belongings(plan.policy)
        self._names = Names()
        self._carried: OrderedDict[int, tuple[SecretHit, ...]] = OrderedDict()

    def carries(self, pid: int, hits: tuple[SecretHit, ...]) -> None:
        """Note what the program that ``pid`` has just become carries, and the kernel missed."""
        self._carried.pop(pid, None)
        if hits:
            self._carried[pid] = hits
            if len(self._carried) > _MAX_PROCESSES:
                self._carried.popitem(last=False)

    def see(self, event: Event) -> None:
        """Learn who is whose child, what names lead to, and where secrets belong."""
        if isinstance(event, Fork):
            self.carries(event.pid, self._carried.get(event.ppid, ()))
        elif isinstance(event, Exit):
            self._carried.pop(event.pid, None)
        elif isinstance(event, Answer):
            self._names.answered(event)
        elif isinstance(event, SecretFound):
            self._belongings.learn(event)

    def judge(self, event: Event) -> Event:
        """Return ``event`` with what the kernel did not know; what was done stays as it was."""
        if not isinstance(event, TRIES) or event.pid not in self._carried:
            return event
        hits = tuple(hit for hit in self._carried[event.pid] if hit.secret not in _said(event))
        if not hits or not _leads_somewhere(event):
            return event
        flow = aim_of(event, self._names).flow
        secrets = [hit.secret for hit in hits]
        carriage = self._belongings.carriage_of(secrets, flow, event.reason)
        if _ORDER.index(carriage) <= _ORDER.index(event.carriage):
            return event
        return replace(event, carriage=carriage, hits=(*event.hits, *hits))


def _said(event: Try) -> set[str]:
    return {hit.secret for hit in event.hits}


def _leads_somewhere(event: Try) -> bool:
    # What is asked of a resolver is judged by itself.
    own = not isinstance(event, Connect) or event.via in _OWN
    return own and event.reason is not Reason.RESOLVER


__all__ = ["Belated"]
