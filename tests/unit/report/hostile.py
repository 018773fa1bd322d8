# SPDX-License-Identifier: MIT
"""Reports in which every observed text was written by an attacker."""

from __future__ import annotations

from dataclasses import replace

from leakstop.model.process import ProcessView
from leakstop.model.report import Report, StepView

PAYLOADS = (
    "a | b | c",
    "`x` ``y``",
    "</td></tr></table><script>alert(1)</script>",
    "x\n\n# Protected\n\n",
    "</details><details>",
    "[click](https://evil.test)",
    "::error title=x::gone",
    "##[error]gone",
    "\x1b[2J\x1b]0;x\x07",
    "\u202egnp.exe",
    "${{ secrets.NPM_TOKEN }}",
    "a\\|b",
    "@someone #1 https://evil.test",
    "-- x",
)


def infect(report: Report, payload: str) -> Report:
    """Put ``payload`` wherever a job can put text."""

    def process(view: ProcessView) -> ProcessView:
        ancestry = tuple(f"/usr/bin/{payload}" for _ in view.ancestry)
        program = replace(view, exe=f"/tmp/{payload}", argv=(payload,), ancestry=ancestry)
        return replace(program, container=f"db{payload}")

    return replace(
        report,
        findings=tuple(
            replace(
                finding,
                process=process(finding.process),
                destination=f"{payload}:443",
                step=payload,
                action_taken=f"Something happened to {payload}",
                what_to_do=f"Look at {payload}",
            )
            for finding in report.findings
        ),
        flows=tuple(
            replace(
                flow,
                host=f"{number}{payload}",
                shown=payload,
                over=f"{payload}:443",
                relayed_for=process(flow.process),
                only_for=flow.only_for and payload,
                process=process(flow.process),
                step=payload,
                rule=flow.rule and replace(flow.rule, text=payload, source=payload),
            )
            for number, flow in enumerate(report.flows)
        ),
        steps=tuple(StepView(payload, f"{payload}:7") for _ in report.steps[:1]),
        job=replace(
            report.job,
            name=payload and report.job.name and payload,
            workflow=report.job.workflow and payload,
            sha=report.job.sha and payload,
            unguarded=tuple(payload for _ in report.job.unguarded),
        ),
        coverage=replace(report.coverage, notes=tuple(payload for _ in report.coverage.notes)),
    )
