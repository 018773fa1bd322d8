# SPDX-License-Identifier: MIT
"""What an agent leaves to the one that is started after it: a guard that is in force.

The programs go on in the kernel, so nothing is loaded into their place. The same programs are
loaded once more, upon the maps that exist: only from a loaded object libbpf attaches to what is
still to come (files with TLS, interfaces).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from leakstop.bpf import pins
from leakstop.bpf.held import HeldLink, runs_like
from leakstop.bpf.libbpf import BpfError, Object
from leakstop.secrets.inventory import Secret


@dataclass(frozen=True, slots=True)
class Inheritance:
    """A guard in force."""

    pinned: Mapping[str, int]
    """Descriptors of maps and links, by the names of their pins."""
    found: tuple[tuple[Secret, ...], ...] = ()
    """Secrets that were found, in the order in which the kernel's tables have them."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """What was counted as lost by then."""
    since_ns: int = 0
    """Boot clock: when the agent before was last seen."""

    def fill(self, opened: Object) -> None:
        """Before ``opened`` is loaded: give it the maps that there are, configuration included.

        Raises:
            BpfError: one is missing; the programs of another guard cannot use those of this one.
        """
        for each in opened.maps():
            descriptor = self.pinned.get(pins.map_pin(each.name), -1)
            if descriptor < 0:
                raise BpfError(f"the guard in force has no map {each.name}")
            each.adopt(descriptor)

    def link(self, name: str, opened: Object) -> HeldLink | None:
        """The link called ``name``, if it is attached and its program has not been exchanged.

        The name is its program's, or begins with that and a dash where a program has several.
        """
        descriptor, program = self.pinned.get(name, -1), name.partition("-")[0]
        if descriptor < 0 or not runs_like(descriptor, opened.program_fd(program)):
            return None
        return HeldLink(os.dup(descriptor))


__all__ = ["Inheritance"]
