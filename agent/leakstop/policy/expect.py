# SPDX-License-Identifier: MIT
"""Runs the cases under ``expect:``. A policy is tested where it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leakstop.model.flow import Flow
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.explain import describe_flow, printable
from leakstop.policy.match import at_home, decide
from leakstop.policy.rules import Policy


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation about one flow. A destination of several flows makes several cases."""

    kind: str
    """``allow``: a rule allows the flow, or it stays on the machine. ``deny``: a rule denies
    it or none names it, in audit mode too, so that a policy can be tested before it blocks.
    ``leak``: it does not go where the secret belongs."""
    flow: Flow
    secret: str
    """Name of the secret of a ``leak`` case, else empty."""
    text: str
    """The case as written, e.g. ``deny: publish:pip``."""
    ref: RuleRef
    """Where it was written."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that does not hold."""

    case: Case
    what: str
    """What the policy says instead, as one sentence."""
    rule: RuleRef | None = None
    """The rule that says so, if one does."""

    def __str__(self) -> str:
        blame = f" ({self.rule.place()}: `{self.rule.text}`)" if self.rule else ""
        held = f"`{self.case.text}` does not hold"
        return printable(f"{self.case.ref.place()}: {held}: {self.what}{blame}")


def run(policy: Policy, cases: Iterable[Case]) -> tuple[Failure, ...]:
    """Try ``cases`` and return those that do not hold, in their order."""
    failures = (_try(policy, case) for case in cases)
    return tuple(failure for failure in failures if failure is not None)


def _try(policy: Policy, case: Case) -> Failure | None:
    if case.kind == "leak":
        return _try_leak(policy, case)
    verdict = decide(policy, case.flow)
    if verdict.policy.value == case.kind:
        return None
    if verdict.policy is Action.ALLOW:
        said = "is allowed" if verdict.rule else "stays on this machine"
    else:
        said = "is denied" if verdict.rule else "is not named"
    return Failure(case, f"{describe_flow(case.flow)} {said}", verdict.rule)


def _try_leak(policy: Policy, case: Case) -> Failure | None:
    if case.secret not in policy.homes:
        # Otherwise a slip in the name would make a case that always holds.
        return Failure(case, f"`{case.secret}` has no home in this policy")
    if at_home(policy, case.secret, case.flow):
        return Failure(case, f"{describe_flow(case.flow)} is where `{case.secret}` belongs")
    return None


__all__ = ["Case", "Failure", "run"]
