# SPDX-License-Identifier: MIT
"""The flow record: JSON lines in a folded group of the job's log.

A log outlives the job and can be fetched through an API; a job summary cannot. So the
record holds all that a replay of the policy needs: what was tried, and the merged policy
with the resolved indexes, the date and the mode. It holds no more than a summary shows:
no argument, no value, no hash of one.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from typing import Any

from leakstop.model.codec import to_json
from leakstop.model.finding import Finding
from leakstop.model.flow import Stream
from leakstop.model.report import FlowRecord, Report
from leakstop.model.verdict import Action, Reason
from leakstop.report import escape
from leakstop.report.times import iso

FORMAT = 1
MAX_BYTES = 256 * 1024
"""Of the whole record: a log is read by people, too."""
POLICY_BYTES = 128 * 1024
"""A longer policy is left out; its digest says which it was."""

_TITLE = "Leakstop flow record (JSON lines, for leakstop and your own tools)"
_LISTS = frozenset({"secrets", "stopped"})
_TAIL_BYTES = 200


def render(report: Report) -> str:
    """Render the record with its group commands: print it to the job's log as it is."""
    lines = [f"::group::{_TITLE}", _line(_run(report)), _policy(report)]
    room = MAX_BYTES - sum(len(line) + 1 for line in lines) - _TAIL_BYTES
    flows = _aggregated(report.flows)
    kept = 0
    cut = 0
    for record in (*map(_finding, report.findings), *_worst_first(flows)):
        line = _line(record)
        room -= len(line) + 1
        if room < 0:
            cut += 1
            room += len(line) + 1
            continue
        lines.append(line)
        kept += 1
    lines += [_line({"kind": "end", "records": kept, "cut": cut}), "::endgroup::"]
    return "\n".join(lines) + "\n"


def _line(record: dict[str, Any]) -> str:
    return escape.json_line(json.dumps(record, ensure_ascii=True, separators=(",", ":")))


def _run(report: Report) -> dict[str, Any]:
    return {
        "kind": "run",
        "format": FORMAT,
        "version": report.version,
        "started": iso(report.started_s),
        "finished": iso(report.finished_s),
        "verdict": report.verdict,
        "exit_code": int(report.exit_code),
        "mode": report.mode.value,
        "leak": report.leak.value,
        "policy": report.policy.digest,
        "job": to_json(report.job),
        "coverage": to_json(report.coverage),
        "secrets": [
            {"name": secret.name, "home": list(secret.home), "placed_by": secret.placed_by}
            for secret in report.secrets
        ],
    }


def _policy(report: Report) -> str:
    record = {
        "kind": "policy",
        "digest": report.policy.digest,
        "sources": list(report.policy.sources),
    }
    line = _line({**record, "canonical": to_json(report.policy.canonical)})
    return line if len(line) <= POLICY_BYTES else _line({**record, "cut": True})


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": "finding",
        "id": finding.id,
        "severity": finding.severity.value,
        "program": finding.process.command,
        "destination": finding.destination,
        "secret": finding.secret,
        "encoding": finding.encoding,
        "step": finding.step,
        "failing": finding.failing,
        "bytes_left": finding.bytes_left,
        "size": finding.size,
        "channel": finding.channel.value if finding.channel else "",
        "library": finding.library.value,
        "count": finding.count,
    }


def _aggregated(flows: Iterable[FlowRecord]) -> list[dict[str, Any]]:
    """Flows without their process ids and paths; equal ones are counted together."""
    merged: dict[Hashable, dict[str, Any]] = {}
    for flow in flows:
        record = {
            "kind": "flow",
            "host": flow.host,
            "ip": flow.ip,
            "port": flow.port,
            "protocol": flow.protocol.value,
            "program": flow.process.command,
            "step": flow.step,
            "policy": flow.policy_verdict.value,
            "applied": flow.applied.value,
            "reason": flow.reason.value,
            "rule": flow.rule.text if flow.rule else "",
            "at": flow.rule.place() if flow.rule else "",
            "via": flow.rule.via if flow.rule else "",
            "quiet": flow.quiet,
            "service": flow.service,
            "sink": flow.sink,
            "secrets": list(flow.secrets),
            **_oddities(flow),
        }
        key = (*(v for k, v in record.items() if k not in _LISTS), flow.secrets, flow.stopped)
        known = merged.setdefault(key, {**record, "count": 0})
        known["count"] += flow.count
        for counter in ("encrypted", "inspected"):
            if getattr(flow, counter):
                known[counter] = known.get(counter, 0) + getattr(flow, counter)
    return list(merged.values())


def _oddities(flow: FlowRecord) -> dict[str, Any]:
    """What most flows do not have: left out where it says nothing, for the record is short."""
    fields = {
        "stopped": list(flow.stopped),
        "library": flow.library,
        "uninspected": flow.uninspected,
        "origin": flow.origin,
        "what": flow.what,
        "stream": flow.stream.value if flow.stream is not Stream.UNSEEN else "",
        "shown": flow.shown,
        "over": flow.over,
        "relayed_for": flow.relayed_for.command if flow.relayed_for else "",
        "only_for": flow.only_for,
    }
    return {name: value for name, value in fields.items() if value}


def _worst_first(flows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was denied, then what no rule names, then the rest: the end may be cut."""

    def rank(record: dict[str, Any]) -> int:
        if record["applied"] == Action.DENY.value:
            return 0
        return 1 if record["reason"] == Reason.NOT_NAMED.value else 2

    return sorted(flows, key=rank)
