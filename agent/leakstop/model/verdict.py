# SPDX-License-Identifier: MIT
"""What the rules say of a flow, and what was done: two fields, never one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(str, Enum):
    """The two things that can happen to a flow."""

    ALLOW = "allow"
    DENY = "deny"


class Mode(str, Enum):
    """What happens to a flow that the policy does not name."""

    AUDIT = "audit"
    """It passes and is listed."""
    BLOCK = "block"
    """It is denied."""


class Leak(str, Enum):
    """What happens when a secret is on its way to a place where it does not belong."""

    KILL = "kill"
    """The process is stopped before the first byte, and the job fails."""
    FAIL = "fail"
    """The write goes on, and the job fails."""
    WARN = "warn"
    """The write goes on, and the job is annotated."""


class Reason(str, Enum):
    """Why a flow got its verdict. The numbers in ``bpf/leakstop.h`` mirror this order."""

    NOT_NAMED = "not-named"
    """No rule names it: the mode decided."""
    ALLOW_RULE = "allow-rule"
    """A rule of ``allow`` names it."""
    DENY_RULE = "deny-rule"
    """A rule of ``deny`` names it."""
    LOCAL = "local"
    """It stays on this machine: loopback, or a container network of this machine."""
    RESOLVER = "resolver"
    """A question to the trusted resolver: the name in it is judged, not the address."""
    LEAK = "leak"
    """It would have carried a secret to a place where that secret does not belong."""
    UNPARSABLE = "unparsable"
    """It could not be read, so it could not be judged; denied in block mode."""
    PROTOCOL = "protocol"
    """Nothing that a rule can ask for: a protocol of its own, or an odd type of DNS record."""
    IDENTITY = "identity"
    """The stream shows no name, hides it, or is not what the rule asks for on this port."""
    BUDGET = "budget"
    """More names were asked for below a wildcard than its rule allows."""


class Carriage(str, Enum):
    """What became of a secret that a process was about to carry somewhere (docs/secrets.md)."""

    NONE = "none"
    """No secret was involved, or it went to its home."""
    NOTE = "note"
    """An unplaced secret towards a host that a rule names: listed."""
    WARN = "warn"
    """An unplaced secret towards a host that nobody named: listed with a warning."""
    FAIL = "fail"
    """A leak that was let go because ``leak: fail`` or ``leak: warn`` says so."""
    KILL = "kill"
    """Refused in the kernel before a byte, and the process killed."""


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Where a rule was written, for people."""

    text: str
    """The rule as its author wrote it, e.g. ``api.example.test:8443``."""
    source: str
    """The file, input or flag, e.g. ``.github/leakstop.yml``; ``built in`` for presets of ours."""
    line: int = 0
    """Line in ``source``, counted from 1; 0 when it has none."""
    via: str = ""
    """The preset or ``registry:`` word that brought it, e.g. ``python``; else empty."""

    def place(self) -> str:
        """``file:line``, or the source alone."""
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement."""

    policy: Action
    """What the rules say: in audit mode too, an unnamed flow is ``deny`` here."""
    applied: Action
    """What happened after the mode."""
    reason: Reason
    """Why."""
    rule: RuleRef | None = None
    """The rule that decided, if one did."""
    quiet: bool = False
    """A wanted denial: blocked and counted, never red."""
