# SPDX-License-Identifier: MIT
"""Who a rule is for: scopes, and which conditions a process meets by what it is.

``step:`` is a boundary: the tag that the kernel gives each child of the runner's worker.
``process:`` is a sieve: a process of the same user can become another program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from leakstop.model.flow import Who


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a rule is for; empty: everybody."""

    step: tuple[str, ...] = ()
    """Globs, of which one matches a name of the step: what the author calls it, its id, or its
    ``uses:`` without the ref."""
    process: tuple[str, ...] = ()
    """Paths of executables, or bare names of them."""
    container: tuple[str, ...] = ()
    """Globs, of which one matches the container's image or name."""
    runner: bool = False
    """The runner's own processes alone, which belong to no step."""

    @property
    def may_be_runner(self) -> bool:
        """Whether the runner's own processes may be meant: they are in no step or container."""
        return not (self.step or self.container)

    def covers(self, who: Who, *, unknown: bool = False) -> bool:
        """Whether ``who`` is meant; ``unknown`` is the answer for what is not known of it."""
        return (
            self._covers_step(who, unknown)
            and self._covers_program(who.process, unknown)
            and _covers(self.container, who.container, unknown)
        )

    def _covers_step(self, who: Who, unknown: bool) -> bool:
        if self.runner:
            return unknown if who.steps is None else who.runner
        return _covers(self.step, who.steps, unknown)

    def _covers_program(self, program: str, unknown: bool) -> bool:
        if not self.process:
            return True
        names = (program, program.rpartition("/")[2])
        return any(name in self.process for name in names) if program else unknown


EVERYBODY = Scope()

PROGRAM_BYTES = 255
"""Of a path: the kernel's key has no room for more (``PROGRAM_MAX`` of ``bpf/values.h``), and
who runs a program at a longer one is not known to it, by its bare name neither."""


_PLAIN = re.compile(r"[A-Za-z0-9/._-]*[A-Za-z0-9]|[A-Za-z][A-Za-z0-9/._ -]*[A-Za-z0-9]")
"""Text that is itself in YAML, inside of brackets too."""


def fits_kernel(program: str) -> bool:
    """Whether the kernel can know it: a path, or a bare name with the shortest one before it."""
    return len(program.encode(errors="surrogateescape")) + ("/" not in program) <= PROGRAM_BYTES


def written(scope: Scope) -> Iterator[str]:
    """Write ``scope`` as a policy does: parts of a map on one line."""
    said = {"step": scope.step, "process": scope.process, "container": scope.container}
    for key, texts in said.items():
        quoted = [t if _PLAIN.fullmatch(t) else json.dumps(t, ensure_ascii=False) for t in texts]
        if quoted:
            yield f"{key}: {quoted[0] if len(quoted) == 1 else '[' + ', '.join(quoted) + ']'}"


def _covers(globs: tuple[str, ...], names: tuple[str, ...] | None, unknown: bool) -> bool:
    if not globs:
        return True
    if names is None:
        return unknown
    # Names of steps have brackets in them; they are no classes of characters here.
    patterns = [glob.replace("[", "[[]") for glob in globs]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Scopes:
    """Which conditions a process meets, by each of the three things that it is.

    The kernel ANDs the three: they stand in tables of their own, because a step gets its name
    when its first process is there already, and a container its image.
    """

    by_bit: tuple[tuple[Scope, bool], ...]
    """Of each condition, lowest bit first: whom it is for, and whether it denies: what denies
    holds of whoever may be meant."""

    @property
    def any(self) -> bool:
        """Whether somebody is told apart at all."""
        return any(scope != EVERYBODY for scope, _ in self.by_bit)

    @property
    def any_step(self) -> bool:
        """Whether a rule names a step."""
        return any(scope.step for scope, _ in self.by_bit)

    @property
    def any_container(self) -> bool:
        """Whether a rule names a container."""
        return any(scope.container for scope, _ in self.by_bit)

    def of(self, who: Who) -> int:
        """The conditions that ``who`` meets."""
        return self._those(lambda scope, denies: scope.covers(who, unknown=denies))

    def of_step(self, names: tuple[str, ...] | None, *, runner: bool = False) -> int:
        """Those that processes of a step meet; of no step ``()``, of an unknown one ``None``."""
        who = Who(steps=names, runner=runner)
        return self._those(lambda scope, denies: scope._covers_step(who, denies))

    def of_program(self, path: str) -> int:
        """Those that a process running ``path`` meets; an empty path is not known."""
        return self._those(lambda scope, denies: scope._covers_program(path, denies))

    def of_container(self, names: tuple[str, ...] | None) -> int:
        """Those that processes in a container meet; outside ``()``, in an unknown one ``None``."""
        return self._those(lambda scope, denies: _covers(scope.container, names, denies))

    @property
    def programs(self) -> Mapping[str, int]:
        """What each path or bare name that a rule names adds to ``of_program("/")``.

        The kernel looks up a program's path and its bare name, and ORs what it finds.
        """
        added: dict[str, int] = {}
        for bit, (scope, _) in enumerate(self.by_bit):
            for name in scope.process:
                added[name] = added.get(name, 0) | 1 << bit
        return added

    @property
    def nobody(self) -> int:
        """What somebody meets of whom nothing is known: the least right."""
        return self.of(Who(steps=None, process="", container=None))

    @property
    def anyone(self) -> int:
        """What somebody might meet: any allow, and what denies everybody."""
        return self._those(lambda scope, denies: not denies or scope == EVERYBODY)

    def _those(self, fits: Callable[[Scope, bool], bool]) -> int:
        return sum(
            1 << bit for bit, (scope, denies) in enumerate(self.by_bit) if fits(scope, denies)
        )


__all__ = ["EVERYBODY", "PROGRAM_BYTES", "Scope", "Scopes", "fits_kernel", "written"]
