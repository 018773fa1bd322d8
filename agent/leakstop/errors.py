# SPDX-License-Identifier: MIT
"""Exceptions for the person who meets them, and the exit codes that are a contract.

Every error that reaches a person is a ``LeakstopError``: it says what happened, why,
what to do, and where. The class owns its exit code.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process's exit code means. A contract: never renumber."""

    CLEAN = 0
    """Nothing to report (for ``run``: then the command's own code is returned)."""
    INTERNAL = 1
    """A fault of ours."""
    USAGE = 2
    """The command line or an input of the action is wrong."""
    POLICY = 3
    """The policy could not be read, verified or understood."""
    UNSUPPORTED = 4
    """This machine cannot do what the policy needs."""
    FINDINGS = 10
    """A finding at or above ``fail-on``."""
    DENIED = 11
    """Flows were denied in block mode."""
    COVERAGE = 12
    """The guard was not whole: events lost, or the agent died."""


class LeakstopError(Exception):
    """Base of all errors that are shown to a person.

    ``what`` is one sentence; ``why`` the likely cause; ``fix`` what to do or paste;
    ``where`` a place such as ``file:line:column``. Empty parts are left out.
    """

    exit_code = ExitCode.INTERNAL

    def __init__(self, what: str, *, why: str = "", fix: str = "", where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        lines = [f"{place}error: {self.what}"]
        lines += [f"   = {part}" for part in (self.why, self.fix) if part]
        return "\n".join(lines)


class UsageError(LeakstopError):
    """A wrong command line or input."""

    exit_code = ExitCode.USAGE


class PolicyError(LeakstopError):
    """A policy that cannot be read, verified or understood."""

    exit_code = ExitCode.POLICY


class UnsupportedError(LeakstopError):
    """This machine cannot do what was asked."""

    exit_code = ExitCode.UNSUPPORTED


class CoverageError(LeakstopError):
    """The guard was not whole: the agent died or could not be asked."""

    exit_code = ExitCode.COVERAGE


def trace(error: BaseException) -> str:
    """Say of what kind ``error`` is and where it was raised: one line, then one for each call.

    Never what it says, nor what it came from: a message may quote whatever was at hand, a secret
    too, and logs are read by many.
    """
    said = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    lines = [type(error).__name__ + said]
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        lines.append(f"   {code.co_filename}:{at.tb_lineno} in {code.co_name}")
        at = at.tb_next
    return "\n".join(lines)
