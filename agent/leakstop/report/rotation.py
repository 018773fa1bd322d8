# SPDX-License-Identifier: MIT
"""Which secrets to rotate, and in which order."""

from __future__ import annotations

from leakstop.model.report import SecretView
from leakstop.report.context import Context
from leakstop.report.headline import names_of


def in_order(context: Context) -> list[tuple[SecretView, str]]:
    """All secrets that open something, most urgent first, and where each was within reach.

    Those on their way out, then those in the environment of the same step, then all others; the
    ones that expire by themselves last. A canary opens nothing.
    """
    facts = context.facts
    leaking = names_of((*facts.left, *facts.leaks))
    steps = {leak.step for leak in facts.leaks if leak.step}
    known = {secret.name: secret for secret in context.report.secrets}
    first = [context.secret(name) for name in leaking]
    others = [secret for name, secret in known.items() if name not in leaking]
    reached = {secret.name for secret in others if steps & set(secret.steps)}
    others.sort(key=lambda secret: secret.name not in reached)
    ranked = [secret for secret in (*first, *others) if not secret.canary]
    ranked.sort(key=lambda secret: secret.short_lived)
    in_reach = " (in the same step's environment)"
    return [(secret, in_reach if secret.name in reached else "") for secret in ranked]


__all__ = ["in_order"]
