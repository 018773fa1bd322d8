# SPDX-License-Identifier: MIT
"""Counts attempts into flow records: one for each program, step, destination and outcome."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

from leakstop.engine.lineage import Step, brief
from leakstop.model.flow import Transport
from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Action, Reason

_LIMIT = 20_000
"""Records kept. A job that scans a network would otherwise fill the memory."""


Key = tuple[Hashable, ...]
"""What makes two attempts the same."""


@dataclass(slots=True)
class _Row:
    record: FlowRecord
    step: Step
    count: int
    first_ns: int
    secrets: tuple[str, ...]
    stopped: tuple[str, ...] = ()
    encrypted: int = 0
    inspected: int = 0
    libraries: tuple[str, ...] = ()
    why: str = ""

    def add(self, more: FlowRecord) -> None:
        """Count one more, in place: a busy job has thousands a second."""
        self.count += more.count
        # Events of several processors may arrive a little out of order.
        if more.first_ns < self.first_ns:
            self.first_ns = more.first_ns
        self.secrets = _both(self.secrets, more.secrets)

    def named(self) -> FlowRecord:
        """The record, with the name that its step has by now."""
        return replace(
            self.record,
            step=self.step.name,
            count=self.count,
            first_ns=self.first_ns,
            secrets=self.secrets,
            stopped=self.stopped,
            encrypted=self.encrypted,
            inspected=self.inspected,
            library=", ".join(self.libraries),
            uninspected=self.why if self.encrypted > self.inspected else "",
        )


class Flows:
    """The attempts of a job."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._rows: dict[Key, _Row] = {}
        self._denied: set[Reason] = set()
        self._unlisted = 0

    @staticmethod
    def key(record: FlowRecord, step: Step) -> Key:
        """Under which attempts like ``record`` are counted."""
        return (*_cause(record), step)

    def add(self, record: FlowRecord, step: Step) -> Key:
        """Count one attempt. ``record.count`` may be 0: then it is part of one already counted."""
        if record.applied is Action.DENY and not (record.quiet or record.service):
            self._denied.add(record.reason)
        key = self.key(record, step)
        row = self._rows.get(key)
        if row is not None:
            row.add(record)
        elif len(self._rows) < self._limit:
            count = max(1, record.count)
            kept = replace(record, process=brief(record.process))
            row = _Row(kept, step, count, record.first_ns, record.secrets, record.stopped)
            self._rows[key] = row
        else:
            self._unlisted += record.count
        return key

    def take_back(self, key: Key) -> None:
        """Count one attempt less: it turned out to be another one."""
        row = self._rows.get(key)
        if row is None:
            self._unlisted = max(0, self._unlisted - 1)
        elif row.count > 1:
            row.count -= 1
        else:
            del self._rows[key]

    def rode(self, key: Key, record: FlowRecord) -> bool:
        """Note what was sent on a connection that is counted under ``key``; ``False`` if none is.

        ``record`` is that of the write: it is no further try.
        """
        row = self._rows.get(key)
        if row is None:
            return False
        if record.applied is Action.DENY:
            self._denied.add(record.reason)
        row.secrets = _both(row.secrets, record.secrets)
        row.stopped = _both(row.stopped, record.stopped)
        return True

    def sealed(self, key: Key, why: str) -> None:
        """Note that one of the connections is encrypted, not looked into so far, and why."""
        row = self._rows.get(key)
        if row is not None:
            row.encrypted += 1
            row.why = why or row.why

    def unsealed(self, key: Key, *, looked_into: bool) -> None:
        """Note that one of the encrypted connections turned out to be another one."""
        row = self._rows.get(key)
        if row is not None and row.encrypted:
            row.encrypted -= 1
            row.inspected -= looked_into and row.inspected > 0

    def looked_into(self, key: Key, library: str) -> None:
        """Note that one of the encrypted connections was looked into after all."""
        row = self._rows.get(key)
        if row is not None and row.inspected < row.encrypted:
            row.inspected += 1
            row.libraries = _both(row.libraries, (library,))

    def blame(self, key: Key, why: str) -> None:
        """Note why connections are not looked into."""
        row = self._rows.get(key)
        if row is not None:
            row.why = why

    @property
    def denied(self) -> frozenset[Reason]:
        """Why attempts were denied, quiet denials left out. Complete, unlike the list."""
        return frozenset(self._denied)

    @property
    def unlisted(self) -> int:
        """Attempts that the list has no room for."""
        return self._unlisted

    def listed(self) -> tuple[FlowRecord, ...]:
        """Return the records in order of first sight.

        A question that was let pass is only worth a line when nothing followed it: else the
        connection says the same and more.
        """
        merged: dict[Key, FlowRecord] = {}
        for record in self._worth_a_line():
            key = (*_cause(record), record.step)
            merged[key] = _join(merged[key], record) if key in merged else record
        return tuple(sorted(merged.values(), key=lambda record: record.first_ns))

    def _worth_a_line(self) -> Iterator[FlowRecord]:
        records = [row.named() for row in self._rows.values()]
        used = [record for record in records if record.protocol is not Transport.DNS]
        reached = {name for record in used for name in (record.host, _host(record.over))}
        for record in records:
            question = record.protocol is Transport.DNS
            if question and record.applied is Action.ALLOW and record.host in reached:
                continue
            yield record


def _host(destination: str) -> str:
    return destination.rpartition(":")[0]


def _place(record: FlowRecord) -> str:
    # A budget is spent by many names, each made up: they are one cause, that of its rule.
    spent = record.rule is not None and record.reason is Reason.BUDGET
    return record.rule.text if spent and record.rule else record.what or record.host or record.ip


def _cause(record: FlowRecord) -> Key:
    return (
        _place(record),
        record.port,
        record.protocol,
        record.process.exe,
        record.policy_verdict,
        record.applied,
        record.reason,
        record.origin,
        # What a stream shows is a cause of its own only where it is why.
        record.stream if record.reason is Reason.IDENTITY else None,
        record.relayed_for and record.relayed_for.exe,
    )


def _join(first: FlowRecord, more: FlowRecord) -> FlowRecord:
    return replace(
        first,
        count=first.count + more.count,
        # Events of several processors may arrive a little out of order.
        first_ns=min(first.first_ns, more.first_ns),
        secrets=_both(first.secrets, more.secrets),
        stopped=_both(first.stopped, more.stopped),
        encrypted=first.encrypted + more.encrypted,
        inspected=first.inspected + more.inspected,
        library=", ".join(_both(_parts(first.library), _parts(more.library))),
        uninspected=first.uninspected or more.uninspected,
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


def _both(first: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Names of both, each once."""
    if not more or more == first:
        return first
    return tuple(dict.fromkeys((*first, *more)))


__all__ = ["Flows"]
