# SPDX-License-Identifier: MIT
"""Which names led to an address, and who asked for what.

The kernel judges an address by every name that led to it. For people one name is shown:
the one that this very process asked for last, since many names share an address.
"""

from __future__ import annotations

from collections import OrderedDict

from leakstop.model.event import Answer, Question

_NAMES_PER_ADDRESS = 64
_NAMES_PER_PROCESS = 64
_NS = 1_000_000_000


class Names:
    """Answers and questions of a job, within bounds: the oldest are forgotten first."""

    def __init__(self, addresses: int = 16_384, processes: int = 4096) -> None:
        self._addresses = addresses
        self._processes = processes
        self._led: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()
        self._asked: OrderedDict[int, OrderedDict[str, set[str]]] = OrderedDict()

    def answered(self, event: Answer) -> None:
        """Learn where a name leads."""
        until_ns = event.ts_ns + event.ttl_s * _NS
        for address in event.addresses:
            names = self._led.setdefault(address, OrderedDict())
            names[event.name] = until_ns
            names.move_to_end(event.name)
            if len(names) > _NAMES_PER_ADDRESS:
                names.popitem(last=False)
            self._led.move_to_end(address)
        while len(self._led) > self._addresses:
            self._led.popitem(last=False)

    def asked(self, event: Question) -> bool:
        """Note who asks for what; return whether it is a new try.

        Resolvers ask for the IPv4 and the IPv6 address of a name in two questions: a type
        that was not asked since the last try belongs to that try.
        """
        names = self._asked.setdefault(event.pid, OrderedDict())
        self._asked.move_to_end(event.pid)
        types = names.setdefault(event.name, set())
        names.move_to_end(event.name)
        new = not types or event.qtype in types
        if new:
            types.clear()
        types.add(event.qtype)
        if len(names) > _NAMES_PER_PROCESS:
            names.popitem(last=False)
        if len(self._asked) > self._processes:
            self._asked.popitem(last=False)
        return new

    def forget(self, pid: int) -> None:
        """Drop what ``pid`` asked: it is another program now."""
        self._asked.pop(pid, None)

    def of(self, address: str) -> tuple[str, ...]:
        """Return every name that led to ``address``, the latest last."""
        return tuple(self._led.get(address, ()))

    def host_for(self, address: str, pid: int = 0) -> str:
        """Return the name to show for ``address`` when ``pid`` goes there; empty if none led."""
        names = self._led.get(address)
        if not names:
            return ""
        for name in reversed(self._asked.get(pid, {})):
            if name in names:
                return name
        return next(reversed(names))

    def fresh(self, address: str, ts_ns: int) -> bool:
        """Whether all names of ``address`` are within the lifetime of their answers."""
        return all(ts_ns <= until_ns for until_ns in self._led.get(address, {}).values())


__all__ = ["Names"]
