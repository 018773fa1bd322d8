# SPDX-License-Identifier: MIT
"""Looks into the environment of every program that starts, for secrets that nobody declared.

Most environments are those of the parent, or differ from it in a variable: a whole one that its
step had before costs a hash, a known variable two look-ups. Only what is new is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from leakstop.secrets.discovery import find_in_variable
from leakstop.secrets.inventory import Secret
from leakstop.sensor import proc
from leakstop.sensor.inventory import Holder, Inventory

MAX_BYTES = 256 * 1024
"""So much of an environment is read; a runner's has 10 KiB."""
_MAX_KNOWN = 32_768
"""Hashes that are kept; then all are forgotten and everything is looked at again."""

Pointed = Callable[[int, dict[str, str]], None]
"""Told of the variables of a process that say where its credentials are, when one is new."""


class Environments:
    """Fills an inventory. ``names`` are the variables that ``pointed`` wants to be told of."""

    def __init__(
        self, inventory: Inventory, names: frozenset[str], pointed: Pointed, root: Path = proc.PROC
    ) -> None:
        self._inventory = inventory
        self._names = names
        self._pointed = pointed
        self._proc = root
        self._whole: set[int] = set()
        self._variables: set[int] = set()

    def look(self, pid: int, program: str, tag: int = 0) -> None:
        """Take what is new in the environment of ``pid``, which runs ``program``, and tell what
        else of the secrets the step with this ``tag`` has."""
        block = proc.environ(pid, self._proc, MAX_BYTES)
        if not self._is_new(self._whole, (tag, block)):
            return
        variables = block.split(b"\0")
        entries = [each for each in variables if each and self._is_new(self._variables, each)]
        source = f"environment of {program.rpartition('/')[2] or 'a process'}"
        found = filter(None, map(find_in_variable, entries))
        holder = Holder(pid, tag, source)
        self._inventory.take([Secret(each.name, each.value, (), source) for each in found], holder)
        self._inventory.held((each.partition(b"=")[2].strip() for each in variables), holder)
        if self._names.intersection(proc.text(entry.partition(b"=")[0]) for entry in entries):
            pairs = (proc.text(each).partition("=") for each in variables)
            self._pointed(pid, {name: value for name, _, value in pairs if name in self._names})

    @staticmethod
    def _is_new(known: set[int], data: bytes | tuple[int, bytes]) -> bool:
        # No value is kept; and as the interpreter's hash is keyed at random (PEP 456), a process
        # cannot choose a variable that passes for another.
        digest = hash(data)
        if digest in known:
            return False
        if len(known) >= _MAX_KNOWN:
            known.clear()
        known.add(digest)
        return True
