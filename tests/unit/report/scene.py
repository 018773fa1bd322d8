# SPDX-License-Identifier: MIT
"""What reports of made-up jobs are built of."""

from __future__ import annotations

from dataclasses import replace

from leakstop.errors import ExitCode
from leakstop.model.flow import Transport
from leakstop.model.process import ProcessView
from leakstop.model.report import Coverage, FlowRecord, Job, PolicyView, Report, SecretView
from leakstop.model.verdict import Action, Leak, Mode, Reason, RuleRef

START_S = 1_795_226_400.0
"""2026-11-21 02:00:00 UTC."""
OFFSET_NS = 5_000_000_000
"""Boot clock at the start."""


def at(minutes: float) -> int:
    """A boot-clock time stamp, minutes after the start."""
    return OFFSET_NS + int(minutes * 60e9)


def process(path: str, *ancestry: str, pid: int = 4711, argv: tuple[str, ...] = ()) -> ProcessView:
    return ProcessView(pid=pid, exe=path, argv=argv or (path,), ancestry=ancestry)


BASH = "/usr/bin/bash"
WORKER = "/home/runner/runners/bin/Runner.Worker"
CURL = process("/usr/bin/curl", BASH, WORKER)
GIT = process("/usr/bin/git", "/usr/bin/node", WORKER)
PIP = process("/usr/bin/pip", BASH, WORKER)

RUNNER = RuleRef(text="**.runner.test", source="built in", via="runner")
PYTHON = RuleRef(text="registry:pip", source=".github/leakstop.yml", line=5, via="registry:pip")
API = RuleRef(text="api.example.test", source=".github/leakstop.yml", line=7)


def flow(
    destination: str,
    program: ProcessView = CURL,
    step: str = "Test",
    *,
    rule: RuleRef | None = None,
    denied: bool = False,
    protocol: Transport = Transport.TCP,
    reason: Reason | None = None,
    count: int = 1,
    minute: float = 1,
    ip: str = "192.0.2.10",
    **more: object,
) -> FlowRecord:
    """A flow to ``host:port``, named when it has a rule, let go unless ``denied``."""
    host, _, port = (
        destination.rpartition(":")
        if protocol is not Transport.DNS
        else (
            destination,
            "",
            "0",
        )
    )
    allowed = rule is not None and reason is not Reason.DENY_RULE
    record = FlowRecord(
        host=host,
        ip=ip,
        port=int(port),
        protocol=protocol,
        process=program,
        step=step,
        policy_verdict=Action.ALLOW if allowed else Action.DENY,
        applied=Action.DENY if denied else Action.ALLOW,
        reason=reason or (Reason.ALLOW_RULE if allowed else Reason.NOT_NAMED),
        rule=rule,
        count=count,
        first_ns=at(minute),
    )
    if protocol is Transport.TCP and int(port) in (443, 8443) and not denied:
        record = replace(record, encrypted=count, inspected=count, library="OpenSSL")
    return replace(record, **more)  # type: ignore[arg-type]


RUNNER_FLOWS = tuple(
    flow(f"{name}.runner.test:443", process(WORKER), "", rule=RUNNER, ip="198.51.100.7")
    for name in ("broker", "results", "pipelines", "vault", "logs", "telemetry")
)
NAMED_FLOWS = (
    flow("index.mirror.test:8443", PIP, "Install", rule=PYTHON),
    flow("files.mirror.test:8443", PIP, "Install", rule=PYTHON, count=14),
    flow("api.example.test:443", process("/usr/bin/curl", "/usr/bin/pytest"), rule=API, count=3),
)

GITHUB_TOKEN = SecretView("GITHUB_TOKEN", ("github",), "job token", "", "format", True, size=40)
NPM_TOKEN = SecretView(
    "NPM_TOKEN",
    ("publish:npm",),
    "npm token",
    "https://docs.vendor.test/revoke",
    "format",
    check="publish history",
    instead="Trusted Publishing: `id-token: write`, no token",
    size=40,
)
CLOUD_KEY = SecretView("CLOUD_KEY", ("nowhere",), "", "", "policy", check="audit log", size=64)
DEPLOY_TOKEN = SecretView("DEPLOY_TOKEN", (), "", "")
COVERAGE_TOKEN = SecretView("COVERAGE_TOKEN", ("coverage.example.test",), "", "", "policy")

POLICY = PolicyView(
    digest="sha256:4f1c9a02" + 56 * "0",
    sources=(".github/leakstop.yml",),
    canonical={
        "mode": "audit",
        "rules": [
            {"source": "built in", "via": "runner", "names": [["**.runner.test", 3, "x"]]},
            {"source": ".github/leakstop.yml", "via": "", "names": [["api.example.test", 7, "x"]]},
        ],
    },
)
NO_POLICY = PolicyView(
    digest="sha256:00c0ffee" + 56 * "0",
    sources=(),
    canonical={"mode": "audit", "rules": [{"source": "built in", "via": "runner"}]},
)
INPUT_POLICY = replace(POLICY, sources=("input `allow`",))
JOB = Job(
    name="build",
    workflow="ci.yml",
    repository="acme/web",
    sha="9c1e2ab0" * 5,
    run_id="4242",
    action_ref="acme/leakstop@v1.2.0",
    event="push",
)
KERNEL = Coverage(sensor="kernel", complete=True, lost_events=0)

CLEAN = Report(
    verdict="pass",
    exit_code=ExitCode.CLEAN,
    mode=Mode.AUDIT,
    leak=Leak.KILL,
    policy=POLICY,
    coverage=KERNEL,
    findings=(),
    flows=(*RUNNER_FLOWS, *NAMED_FLOWS),
    secrets=(GITHUB_TOKEN, COVERAGE_TOKEN),
    job=JOB,
    started_s=START_S,
    finished_s=START_S + 750.5,
    version="0.1.0",
    offset_ns=OFFSET_NS,
)
"""A clean audit run."""

CLEAN_BLOCK = replace(CLEAN, mode=Mode.BLOCK)
