# SPDX-License-Identifier: MIT
"""The programs stay as easy to verify as they are: that is the time until a guard is in force."""

from __future__ import annotations

from functools import cache

import pytest

from bench import verifier

pytestmark = pytest.mark.root

TOLERANCE = 1.10
"""Another patch release of the same kernel walks a little differently."""
LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS of <linux/bpf.h>: beyond it a program does not load."""

counts = cache(verifier.measure)


def test_no_program_needs_more_of_the_verifier_than_was_agreed() -> None:
    """On a kernel for which nothing was agreed, a tenth of what makes it give up is the limit."""
    agreed = verifier.budgets().get(verifier.kernel())
    over = {}
    for name, count in counts().items():
        most = agreed.get(name, 0) * TOLERANCE if agreed else LIMIT / 10
        if count > most:
            over[name] = f"{count:,} instructions walked, {most:,.0f} are allowed"
    assert over == {}, (
        f"If that cannot be helped, renew the budget: `{verifier.UPDATE}`. A function that is "
        "called in several places is cheaper as a global one (__noinline): it is verified once."
    )


def test_the_budget_names_programs_that_exist() -> None:
    for kernel, agreed in verifier.budgets().items():
        assert set(agreed) == set(counts()), f"{kernel}: renew it with `{verifier.UPDATE}`"
