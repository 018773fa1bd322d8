# SPDX-License-Identifier: MIT
"""Do the steps that a policy names exist, and do they connect themselves?

A rule for a step that never runs allows nothing, and a case about one holds whatever is
written. So what a policy calls steps is compared with the workflows that use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from leakstop.cli.workflows import GuardedFile, WorkflowStep
from leakstop.model.flow import Who
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.advice import DOCKER_ACTIONS, docker_warning, warning
from leakstop.policy.merge import Built
from leakstop.policy.rules import Rule
from leakstop.policy.scopes import EVERYBODY, Scope

_SHOWN = 12
"""Steps of a list."""
_EXPRESSION = "${{"
_DOCKER = re.compile(
    r"^\s*(?:sudo\s+)?docker\s+(?:(?:buildx|image|compose)\s+)?(?:build|bake|push|pull|login)\b",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class _Known:
    """A step as rules may call it."""

    names: tuple[str, ...]
    """What people see, the id, ``uses:`` without the ref; the best one first."""
    docker: bool
    """It lets Docker's daemon, or a builder, connect for it."""


def remarks(built: Built, policy: str, files: Sequence[GuardedFile]) -> tuple[str, ...]:
    """Warn of steps that the policy in the file ``policy`` names and that are not there, or do
    not connect themselves. ``files`` are the repository's workflows."""
    using = _using(policy, files)
    known = [_known(step) for file in using for step in file.steps]
    if not known:
        return ()
    where = using[0].name if len(using) == 1 else f"any of {len(using)} workflows"
    found = (
        *_misspelt(built.steps, known, where),
        *_docker(built.policy.rules, known),
    )
    return tuple(dict.fromkeys(found))


def _using(policy: str, files: Sequence[GuardedFile]) -> Sequence[GuardedFile]:
    """The workflows that this policy is for: they name it, else they have a guard."""
    parts = Path(policy).absolute().parts
    named = [
        file
        for file in files
        if any(parts[-len(path.parts) :] == path.parts for path in map(Path, file.policies))
    ]
    return named or [file for file in files if file.guarded] or files


def _known(step: WorkflowStep) -> _Known:
    uses = step.uses.partition("@")[0]
    # As the runner names what its author gave no name (ActionRunner.GenerateDisplayName).
    first = next(iter(step.run.strip().splitlines()), "")
    shown = step.name or (f"Run {step.uses or first}" if step.uses or first else "")
    # A name with an expression in it is made as the job runs, so no right hangs on it.
    named = shown if _EXPRESSION not in shown else ""
    names = (step.name and named, step.identity, uses, named)
    docker = uses in DOCKER_ACTIONS or _DOCKER.search(step.run) is not None
    return _Known(tuple(dict.fromkeys(name for name in names if name)), docker)


def _misspelt(written: Iterable[RuleRef], known: Sequence[_Known], where: str) -> Iterator[str]:
    labels = list(dict.fromkeys(step.names[0] for step in known if step.names))
    shown = ", ".join(labels[:_SHOWN]) + (", …" if len(labels) > _SHOWN else "")
    for ref in written:
        if not any(_means(ref.text, step) for step in known):
            yield warning(
                ref,
                f"`step: {ref.text}` names no step in {where}",
                f"steps there: {shown}. A rule for a step that never runs allows nothing.",
            )


def _docker(rules: Iterable[Rule], known: Sequence[_Known]) -> Iterator[str]:
    allows = [rule for rule in rules if rule.action is Action.ALLOW]
    others = {rule.place for rule in allows if rule.scope == EVERYBODY or not rule.scope.step}
    for rule in allows:
        for text in rule.scope.step if rule.place not in others else ():
            if any(step.docker and _means(text, step) for step in known):
                yield docker_warning(rule.ref, text)


def _means(text: str, step: _Known) -> bool:
    return Scope(step=(text,)).covers(Who(step.names))


__all__ = ["remarks"]
