# SPDX-License-Identifier: MIT
"""``report.json``, format 1: what other tools rely on (``schemas/report-v1.schema.json``).

Fields are only ever added. Text is exact but for two things: lone surrogates, which JSON
has no form for, and arguments that are cut at ``ARGUMENT_LIMIT``.
"""

from __future__ import annotations

import json
from typing import Any

from leakstop.model.codec import to_json
from leakstop.model.finding import Finding
from leakstop.model.process import ProcessView
from leakstop.model.report import Away, FlowRecord, Report
from leakstop.report.context import why_opaque
from leakstop.report.times import iso, iso_of

FORMAT = 1
ARGUMENT_LIMIT = 4096
"""Characters of one argument; ``events.ndjson`` has what the sensor read."""
ARGUMENTS = 256


def render(report: Report) -> str:
    """Render the report as JSON: ASCII only, so no character of it can do anything."""
    return json.dumps(document(report), indent=2, ensure_ascii=True) + "\n"


def document(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    value: dict[str, Any] = _clean(
        {
            "format": FORMAT,
            "version": report.version,
            "verdict": report.verdict,
            "exit_code": int(report.exit_code),
            "mode": report.mode.value,
            "leak": report.leak.value,
            "started": iso(report.started_s),
            "finished": iso(report.finished_s),
            "policy": {
                "digest": report.policy.digest,
                "sources": list(report.policy.sources),
                "canonical": to_json(report.policy.canonical),
            },
            "coverage": {
                "sensor": report.coverage.sensor,
                "complete": report.coverage.complete,
                "lost_events": report.coverage.lost_events,
                "agent_died": report.coverage.agent_died,
                "notes": list(report.coverage.notes),
                "gaps": [_gap(gap) for gap in report.coverage.gaps],
            },
            "steps": to_json(report.steps),
            "findings": [_finding(report, finding) for finding in report.findings],
            "flows": [_flow(report, flow) for flow in report.flows],
            "secrets": to_json(report.secrets),
            "job": to_json(report.job),
        }
    )
    return value


def _gap(gap: Away) -> dict[str, Any]:
    return {
        "since": iso(gap.since_s),
        "until": iso(gap.until_s),
        "why": gap.why,
        "undecided": gap.undecided,
    }


def _finding(report: Report, finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": finding.severity.value,
        "title": finding.title,
        "process": _process(finding.process),
        "destination": finding.destination,
        "secret": finding.secret,
        "encoding": finding.encoding,
        "step": finding.step,
        "action_taken": finding.action_taken,
        "what_to_do": finding.what_to_do,
        "rule": finding.rule,
        "bytes_left": finding.bytes_left,
        "size": finding.size,
        "channel": finding.channel.value if finding.channel else "",
        "library": finding.library.value,
        "tie": finding.tie.value if finding.tie else "",
        "failing": finding.failing,
        "count": finding.count,
        "first_seen": iso_of(report, finding.ts_ns),
    }


def _flow(report: Report, flow: FlowRecord) -> dict[str, Any]:
    rule = f"{flow.rule.text} ({flow.rule.place()})" if flow.rule else ""
    return {
        "host": flow.host,
        "ip": flow.ip,
        "port": flow.port,
        "protocol": flow.protocol.value,
        "process": _process(flow.process),
        "step": flow.step,
        "policy_verdict": flow.policy_verdict.value,
        "applied": flow.applied.value,
        "reason": flow.reason.value,
        "rule": rule,
        "via": flow.rule.via if flow.rule else "",
        "quiet": flow.quiet,
        "service": flow.service,
        "sink": flow.sink,
        "secrets": list(flow.secrets),
        "stopped": list(flow.stopped),
        "encrypted": flow.encrypted,
        "inspected": flow.inspected,
        "library": flow.library,
        "uninspected": why_opaque(report, flow) if flow.encrypted > flow.inspected else "",
        "origin": flow.origin,
        "what": flow.what,
        "stream": flow.stream.value,
        "shown": flow.shown,
        "over": flow.over,
        "relayed_for": _process(flow.relayed_for) if flow.relayed_for else None,
        "only_for": flow.only_for,
        "count": flow.count,
        "first_seen": iso_of(report, flow.first_ns),
    }


def _process(process: ProcessView) -> dict[str, Any]:
    argv = [argument[:ARGUMENT_LIMIT] for argument in process.argv[:ARGUMENTS]]
    return {
        "pid": process.pid,
        "exe": process.exe,
        "argv": argv,
        "truncated": process.truncated or argv != list(process.argv),
        "ancestry": list(process.ancestry),
        "container": process.container,
    }


def _clean(value: Any) -> Any:
    """Replace lone surrogates: a path on Linux is bytes, a JSON text is characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
