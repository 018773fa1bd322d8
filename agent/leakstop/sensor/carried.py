# SPDX-License-Identifier: MIT
"""What becomes of secrets on their way somewhere, by the reference: of what no program judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from leakstop.model.event import SecretFound
from leakstop.model.flow import Flow
from leakstop.model.verdict import Carriage, Mode, Reason
from leakstop.policy import match
from leakstop.policy.rules import AddressPlace, Home, Policy
from leakstop.secrets.carriage import Destination, judge

_ORDER = tuple(Carriage)


class Belongings:
    """A policy that learns where what is found belongs."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._guessed: set[str] = set()

    def learn(self, found: SecretFound) -> None:
        """Know where a secret belongs that was found."""
        home = self.home(found.home)
        if home is not None:
            self.policy = replace(self.policy, homes={**self.policy.homes, found.name: home})
        if found.guessed:
            self._guessed.add(found.name)

    def home(self, words: tuple[str, ...]) -> Home | None:
        """What was compiled for a home that is written like this."""
        written = (home for home in self.policy.homes.values() if home.text == words)
        return self.policy.format_homes.get(" ".join(words)) or next(written, None)

    def carriage_of(self, secrets: Iterable[str], flow: Flow, reason: Reason) -> Carriage:
        """The worst of what the table says of ``secrets`` on ``flow``, in the policy's mode."""
        policy = self.policy
        return carriage_of(policy, secrets, flow, reason, policy.mode, guessed=self._guessed)


def carriage_of(
    policy: Policy,
    secrets: Iterable[str],
    flow: Flow,
    reason: Reason,
    mode: Mode,
    *,
    in_name: bool = False,
    guessed: Collection[str] = (),
) -> Carriage:
    """The worst of what the table says of ``secrets`` on ``flow``, which was judged for ``reason``.

    ``in_name``: they stand in the name that is asked for. ``guessed``: those of which only the
    name says that they are secret.
    """
    worst = Carriage.NONE
    for secret in secrets:
        dest = Destination.of(
            flow,
            local=reason is Reason.LOCAL,
            at_home=match.at_home(policy, secret, flow),
            named=reason is Reason.ALLOW_RULE,
            sink=match.is_sink(policy, flow),
            address_named=_names_address(policy, flow),
            dns_label=in_name,
        )
        judged = judge(
            placed=secret in policy.homes,
            dest=dest,
            mode=mode,
            leak=policy.leak,
            guessed=secret in guessed,
        )
        worst = max(worst, judged, key=_ORDER.index)
    return worst


def _names_address(policy: Policy, flow: Flow) -> bool:
    address = match.to_address(flow.ip)
    return any(
        isinstance(rule.place, AddressPlace) and match.covers(rule.place, (), address)
        for rule in policy.rules
    )


__all__ = ["Belongings", "carriage_of"]
