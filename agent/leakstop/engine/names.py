# SPDX-License-Identifier: MIT
"""Which names led to an address, and who asked for what.

The kernel judges an address by every name that led to it. For people one name is shown:
the one that this very process asked for last, since many names share an address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from leakstop.model.event import Answer, Question

_NAMES_PER_KEY = 64
_TYPES_PER_TRY = 8
"""Resolvers ask for two or three types of a name at a time."""
_NS = 1_000_000_000

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Names:
    """Answers and questions of a job, within bounds: the oldest are forgotten first."""

    def __init__(self, addresses: int = 16_384, processes: int = 4096, names: int = 65_536) -> None:
        """``names`` bounds those of all addresses together, and those of all processes."""
        self._led: _Table[str, int] = _Table(addresses, names)
        self._asked: _Table[int, frozenset[str]] = _Table(processes, names)

    def answered(self, event: Answer) -> None:
        """Learn where a name leads."""
        until_ns = event.ts_ns + event.ttl_s * _NS
        for address in event.addresses:
            self._led.put(address, event.name, until_ns)

    def asked(self, event: Question) -> bool:
        """Note who asks for what; return whether it is a new try.

        Resolvers ask for the IPv4 and the IPv6 address of a name in two questions: a type
        that was not asked since the last try belongs to that try.
        """
        before = self._asked.of(event.pid).get(event.name, frozenset())
        new = not before or event.qtype in before or len(before) == _TYPES_PER_TRY
        types = frozenset((event.qtype,)) if new else before | {event.qtype}
        self._asked.put(event.pid, event.name, types)
        return new

    def forget(self, pid: int) -> None:
        """Drop what ``pid`` asked: it is another program now."""
        self._asked.forget(pid)

    def of(self, address: str) -> tuple[str, ...]:
        """Return every name that led to ``address``, the latest last."""
        return tuple(self._led.of(address))

    def host_for(self, address: str, pid: int = 0) -> str:
        """Return the name to show for ``address`` when ``pid`` goes there; empty if none led."""
        names = self._led.of(address)
        if not names:
            return ""
        for name in reversed(self._asked.of(pid)):
            if name in names:
                return name
        return next(reversed(names))

    def fresh(self, address: str, ts_ns: int) -> bool:
        """Whether all names of ``address`` are within the lifetime of their answers."""
        return all(ts_ns <= until_ns for until_ns in self._led.of(address).values())


class _Table(Generic[Key, Value]):
    """For each key some names, with a value each; what was used longest ago goes first."""

    def __init__(self, keys: int, names: int) -> None:
        self._keys = keys
        self._names = names
        self._rows: OrderedDict[Key, OrderedDict[str, Value]] = OrderedDict()
        self._held = 0
        """Names in all rows."""

    def of(self, key: Key) -> OrderedDict[str, Value]:
        """The names of ``key``, the latest last."""
        return self._rows.get(key, OrderedDict())

    def put(self, key: Key, name: str, value: Value) -> None:
        """Set a value, and make room for it if need be."""
        row = self._rows.setdefault(key, OrderedDict())
        self._rows.move_to_end(key)
        self._held += name not in row
        row[name] = value
        row.move_to_end(name)
        if len(row) > _NAMES_PER_KEY:
            row.popitem(last=False)
            self._held -= 1
        while len(self._rows) > self._keys or self._held > self._names:
            self.forget(next(iter(self._rows)))

    def forget(self, key: Key) -> None:
        """Drop the names of ``key``."""
        self._held -= len(self._rows.pop(key, ()))


__all__ = ["Names"]
