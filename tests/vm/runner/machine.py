# SPDX-License-Identifier: MIT
"""The machine, its internet, and the jobs of its runner."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from e2e.acting import Bench, Outcome
from lab.network import JOB_LINK
from lab.tokens import Token
from vm.runner.internet import Internet
from vm.runner.traces import left, traces

RUNNER = 1001
"""The user's id."""
_AS_RUNNER = ["setpriv", f"--reuid={RUNNER}", f"--regid={RUNNER}", "--init-groups", "--"]
_WORK = Path("/home/runner/work")
_AUTHORITY = "/leakstop/ca.pem"
_JOB_S = 400
"""Several times what a job takes, on an emulated processor."""

T = TypeVar("T")


def once(work: Callable[[Machine], T]) -> Callable[[Machine], T]:
    """Do ``work`` when it is first asked for. What failed has failed for all who ask."""
    results: list[T | Exception] = []

    @wraps(work)
    def result(machine: Machine) -> T:
        if not results:
            try:
                results.append(work(machine))
            except Exception as error:  # noqa: BLE001 - whatever it is
                results.append(error)
        found = results[0]
        if isinstance(found, Exception):
            raise found
        return found

    return result


@dataclass(frozen=True)
class Job:
    """A job that is over."""

    outcome: Outcome
    left: set[str]
    """What is other than it was before, among the traces of a guard."""


class Machine:
    """A machine that is guarded as a whole; a context manager."""

    def __enter__(self) -> Machine:
        self.log = ""
        """Of the last job."""
        self.internet = Internet()
        lines = JOB_LINK.format(device="eth0")
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
        self.bench = Bench(_WORK, self._popen, None, RUNNER)
        return self

    def __exit__(self, *_: object) -> None:
        self.bench.close()

    def run(self, steps: str, *, secrets: Sequence[Token] = ()) -> Job:
        """Run a workflow of one job as the runner's user, to its end."""
        before = traces()
        try:
            outcome = self.bench.run(steps, secrets=secrets, timeout_s=_JOB_S)
        except subprocess.TimeoutExpired as error:
            self.log = (error.output or b"").decode(errors="replace")
            raise
        self.log = outcome.text
        return Job(outcome, left(before))

    def said(self, script: str) -> str:
        """What a script prints that the runner's user runs outside of any job."""
        command = [*_AS_RUNNER, "bash", "-c", script]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(command, check=False, text=True, **pipes).stdout

    @staticmethod
    def _popen(
        command: Sequence[str], *, env: Mapping[str, str], **options: Any
    ) -> subprocess.Popen[str]:
        own = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "CURL_CA_BUNDLE": _AUTHORITY}
        return subprocess.Popen([*_AS_RUNNER, *command], env={**own, **env}, text=True, **options)


__all__ = ["RUNNER", "Job", "Machine", "once"]
