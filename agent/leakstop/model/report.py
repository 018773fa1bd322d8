# SPDX-License-Identifier: MIT
"""The outcome of one guarded job: what every renderer is given, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakstop.errors import ExitCode
from leakstop.model.finding import Finding
from leakstop.model.flow import Stream, Transport
from leakstop.model.process import ProcessView
from leakstop.model.verdict import Action, Leak, Mode, Reason, RuleRef


@dataclass(frozen=True, slots=True)
class Away:
    """A time for which the guard was not whole."""

    since_s: float
    """Wall clock, seconds since the epoch."""
    until_s: float
    why: str
    undecided: bool = False
    """Programs were off; else the kernel went on deciding, and nobody recorded what."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was seen, and what was not."""

    sensor: str
    """``kernel`` or ``portable``."""
    complete: bool
    """The agent was there from start to finish and lost nothing."""
    lost_events: int
    notes: tuple[str, ...] = ()
    """What could not be seen, in whole sentences."""
    agent_died: bool = False
    gaps: tuple[Away, ...] = ()


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """All tries of one program in one step towards one destination, counted."""

    host: str
    """The name that it shows or asks for, else the one that led there; empty for a bare address."""
    ip: str
    """The (first) address; empty for a name that was asked for and denied or never used."""
    port: int
    protocol: Transport
    process: ProcessView
    step: str
    policy_verdict: Action
    applied: Action
    reason: Reason
    rule: RuleRef | None
    count: int
    first_ns: int
    quiet: bool = False
    service: bool = False
    """Wanted by a service of the machine, which is not the job's: listed, never red."""
    secrets: tuple[str, ...] = ()
    """Names of secrets that it had on its command line, or sent (noted, not stopped)."""
    stopped: tuple[str, ...] = ()
    """Names of secrets that it tried to send on the connection, and that did not leave."""
    encrypted: int = 0
    """How many of the ``count`` are connections that were let go and hide what they carry."""
    inspected: int = 0
    """How many of those were looked into before they encrypted it."""
    library: str = ""
    """Through whose functions, e.g. ``OpenSSL``."""
    uninspected: str = ""
    """Why the others were not, in words that follow "not inspected:"."""
    sink: bool = False
    """Anyone can store data there."""
    origin: str = ""
    """What it is, if no connect, send or question of its own: ``accept``, ``older``, ``link``; or
    what goes nowhere yet: ``socket`` (raw, or of another protocol than TCP and UDP), ``family``
    (a socket that is not IP's), ``option`` (of a socket)."""
    what: str = ""
    """What was asked for that has no destination, in words: ``a raw socket``."""
    stream: Stream = Stream.UNSEEN
    """What the TCP stream shows of itself."""
    shown: str = ""
    """The name in the stream, empty if it shows none."""
    over: str = ""
    """The destination of the connection, where the stream asks for another one than that."""
    relayed_for: ProcessView | None = None
    """Who was connected to this program on loopback, and may have sent this through it."""
    only_for: str = ""
    """Whom a rule allows it to instead, and where: ``step `Publish` (ci.yml:8)``."""

    @property
    def destination(self) -> str:
        """``host:port``, the bare name for a question that was denied, or what it was instead."""
        return self.what or at_port(self.host or self.ip, self.port)


def at_port(place: str, port: int) -> str:
    """``host:port``, brackets around an IPv6 address; the bare place without a port."""
    host = f"[{place}]" if ":" in place else place
    return f"{host}:{port}" if port else host


UNSURE = " (?)"
"""Behind the name of a step that is not sure, so no rule hangs on it."""


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of the job."""

    name: str
    """As flows and findings call it."""
    place: str = ""
    """``file:line`` of the workflow, as far as known."""
    source: str = ""
    """Where the name is from (``StepSeen.source``)."""
    names: tuple[str, ...] = ()
    """What a rule may call it (``StepSeen.names``); empty: no rule can."""


CANARY = "canary"
"""``SecretView.source`` of what Leakstop planted."""


@dataclass(frozen=True, slots=True)
class SecretView:
    """A watched secret, without its value."""

    name: str
    home: tuple[str, ...]
    """Where it may go, as written; ``("nowhere",)``; empty when it is unplaced."""
    kind: str
    """The format that was recognised, e.g. ``npm token``, or empty."""
    revoke: str
    """The provider's page for revoking it, or empty."""
    placed_by: str = ""
    """``policy``, ``format`` or empty."""
    short_lived: bool = False
    """Expires with the job (the job's own token)."""
    check: str = ""
    """What to look through once it is revoked, e.g. ``publish history``."""
    instead: str = ""
    """What would replace it and lives for minutes, in words; empty if nothing is known."""
    size: int = 0
    """Bytes of its value; 0 if unknown."""
    digest: str = ""
    """First characters of a salted hash of the value, of one that was found."""
    source: str = ""
    """Where it was found; empty when it was declared."""
    guessed: bool = False
    """Its name alone says that it is a secret."""
    steps: tuple[str, ...] = ()
    """Steps in whose environment it was found."""

    @property
    def canary(self) -> bool:
        """Whether Leakstop planted it: it opens nothing, and only a thief sends it."""
        return self.source == CANARY


@dataclass(frozen=True, slots=True)
class PolicyView:
    """The policy that was in force."""

    digest: str
    sources: tuple[str, ...]
    """Files and inputs it was made of, e.g. ``.github/leakstop.yml``."""
    canonical: Mapping[str, object] = field(default_factory=dict)
    """The merged policy with resolved indexes: what a replay needs."""


@dataclass(frozen=True, slots=True)
class Job:
    """Where this ran. Empty strings outside a workflow."""

    name: str = ""
    workflow: str = ""
    """File name of the workflow, e.g. ``release.yml``."""
    repository: str = ""
    sha: str = ""
    run_id: str = ""
    action_ref: str = ""
    """How the workflow names this action, e.g. ``OWNER/leakstop@v1``."""
    event: str = ""
    fork: bool = False
    """The run comes from a fork's pull request."""
    unguarded: tuple[str, ...] = ()
    """Other jobs of this workflow without the guard, where that is known."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is said about a job."""

    verdict: str
    """``pass`` or ``fail``."""
    exit_code: ExitCode
    mode: Mode
    leak: Leak
    policy: PolicyView
    coverage: Coverage
    findings: tuple[Finding, ...]
    """Most severe first, then in order of time."""
    flows: tuple[FlowRecord, ...]
    """In order of first sight."""
    secrets: tuple[SecretView, ...]
    job: Job
    started_s: float
    """Wall clock, seconds since the epoch."""
    finished_s: float
    version: str
    """Of Leakstop."""
    offset_ns: int = 0
    """Boot-clock nanoseconds at ``started_s``: converts ``ts_ns`` to wall time."""
    steps: tuple[StepView, ...] = ()
    """In the order in which they began."""

    def wall_s(self, ts_ns: int) -> float:
        """Wall-clock seconds of a boot-clock time stamp."""
        return self.started_s + (ts_ns - self.offset_ns) / 1e9
