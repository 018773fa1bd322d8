# SPDX-License-Identifier: MIT
"""What one phase of the hook leaves for the next.

It goes through the runner's state: the runner keeps it in its own memory, where no step of
the job can read or change it. In ``post`` nothing else is trusted, least of all the inputs,
which inside of somebody else's action are that action's (actions/runner#2030, #2009).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from leakstop.cli.elevate import Place
from leakstop.cli.runner import Runner
from leakstop.daemon.lifecycle import RunDir


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """The state of the hook. Everything is text, and empty at first."""

    run: str = ""
    """Run directory of the agent."""
    code: str = ""
    """The package that ``post`` runs (hook.js reads this name)."""
    python: str = ""
    """The interpreter that ``post`` runs (hook.js reads this name)."""
    agent: str = ""
    """Who listens for the agent (``AgentClient.whom``): nobody else is believed."""
    worker: str = ""
    """The runner's worker (cli/runner.py): looked at once, before a guard is in force."""
    key: str = ""
    """Lets us, and nobody else who is not root, re-arm and finish the guard."""
    inputs: str = ""
    """Fingerprint of the inputs that are in force; empty while they are not known."""
    detail: str = ""
    """How long the job summary is."""
    reports: str = ""
    """Directory for the report; empty until ``main`` has succeeded."""
    planted: str = ""
    """The canaries, for who removes them."""

    @classmethod
    def read(cls, runner: Runner) -> Kept:
        """What the phases before left."""
        return cls(**{field.name: runner.state(field.name) for field in dataclasses.fields(cls)})

    def save(self, runner: Runner) -> None:
        """Leave it for the next phase. All of it, so that no value can come from elsewhere."""
        runner.save_state(dataclasses.asdict(self))

    @property
    def place(self) -> Place:
        """Where the guard lives."""
        return Place(Path(self.run), Path(self.code))

    @property
    def agent_is_alive(self) -> bool:
        """Whether the agent that was started is there."""
        return bool(self.run) and RunDir(Path(self.run)).alive()


__all__ = ["Kept"]
