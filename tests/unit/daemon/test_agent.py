# SPDX-License-Identifier: MIT
"""The agent's loop, with a sensor that shows what the test wrote down."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from leakstop.act import cut as cutter
from leakstop.act import kill as killer
from leakstop.daemon import agent as agent_module
from leakstop.daemon import fold
from leakstop.daemon.control import Channel
from leakstop.daemon.lifeline import Lifeline
from leakstop.errors import ExitCode, LeakstopError, UnsupportedError
from leakstop.model.codec import from_json
from leakstop.model.report import Job, Report
from leakstop.model.verdict import Mode
from leakstop.secrets.inventory import Secret
from story import LEAKING, REFUSED, allow, carrying, connects, execs, fork, shows, started
from unit.daemon.scene import END_NS, FakeSensor, Scene, arm, make_policy, request

POLICY = make_policy(allow("api.example.test"))
DENIED = connects(20, "203.0.113.9", 443, REFUSED, ts_ns=5_000_000)


def begin(mode: Mode = Mode.BLOCK, policy: object = POLICY) -> object:
    return started(mode, ts_ns=1_000_000, policy_digest=policy.digest)  # type: ignore[attr-defined]


def report_of(answer: dict[str, object]) -> Report:
    report: Report = from_json(Report, answer["report"])
    return report


def test_a_guard_from_arming_to_its_report(tmp_path: Path) -> None:
    sensor = FakeSensor([begin()])
    scene = Scene(tmp_path, [sensor])
    reports: list[Report] = []

    def client(channel: Channel) -> None:
        assert channel.ask("status")["state"] == "waiting"
        armed = arm(channel, request(POLICY, job=Job(name="build")))
        assert armed == {"ok": True, "mode": "block", "note": ""}
        status = channel.ask("status")
        assert (status["state"], status["mode"]) == ("armed", "block")
        assert status["digest"] == POLICY.digest
        sensor.show(fork(20, 1), execs(20, "curl", ts_ns=4_000_000), DENIED)
        reports.append(report_of(channel.ask("report")))
        reports.append(report_of(channel.ask("finish")))

    agent = scene.play(client)
    running, final = reports
    assert not running.coverage.agent_died
    assert final.exit_code is ExitCode.DENIED
    assert final.coverage.complete
    assert final.job.name == "build"
    assert [flow.destination for flow in final.flows] == ["203.0.113.9:443"]
    assert sensor.closed
    assert not agent.orphaned
    kinds = [record["kind"] for record in scene.journal()]
    assert kinds == ["started", "fork", "exec", "connect", "finished"]
    assert scene.journal()[-1]["ts_ns"] == END_NS
    assert fold.load_final(tmp_path) == final


def test_events_are_taken_in_without_anybody_asking(tmp_path: Path) -> None:
    sensor = FakeSensor([begin()])
    scene = Scene(tmp_path, [sensor])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        sensor.show(fork(20, 1))
        deadline = time.monotonic() + 5
        while len(scene.journal()) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert [record["kind"] for record in scene.journal()] == ["started", "fork"]
        channel.ask("finish")

    scene.play(client)


def test_a_gap_that_is_told_when_the_guard_ends_is_in_the_report(tmp_path: Path) -> None:
    """The agent is let go on after it was stopped, and is asked to end before it hears since when
    it was away."""
    ours, theirs = socket.socketpair()
    supervisor = Channel(theirs)

    def supervise() -> None:
        while (message := supervisor.receive()) is not None:
            if message["what"] == "ending":
                supervisor.send({"what": "away", "since_ns": 3, "why": "the agent was stopped"})
            if message["what"] in ("armed", "ending"):
                supervisor.send({"what": "let go"})

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        report = report_of(channel.ask("finish"))
        assert [gap.why for gap in report.coverage.gaps] == ["the agent was stopped"]
        assert report.exit_code is ExitCode.COVERAGE

    line = Lifeline(ours)
    thread = threading.Thread(target=supervise)
    thread.start()
    Scene(tmp_path, [FakeSensor([begin()])], lifeline=line).play(client)
    line.cut()
    thread.join(10)


def test_a_leak_under_way_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(killer, "kill", lambda pid, start_ns: killed.append((pid, start_ns)))
    leak = connects(20, "203.0.113.9", 80, LEAKING, hits=carrying("NPM_TOKEN"))
    sensor = FakeSensor([begin(), fork(20, 1, start_ns=77), execs(20, "curl", start_ns=77), leak])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        report = report_of(channel.ask("finish"))
        assert report.exit_code is ExitCode.FINDINGS

    Scene(tmp_path, [sensor]).play(client)
    assert killed == [(20, 77)]


def test_denied_streams_are_cut_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[dict[int, int]] = []
    monkeypatch.setattr(cutter, "cut", lambda sockets: batches.append(dict(sockets)))
    streams = [shows(20, "203.0.113.9", "x.test", 443, REFUSED, cookie=c) for c in (7, 8)]
    sensor = FakeSensor([begin(), execs(20, "curl"), *streams])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        channel.ask("finish")

    Scene(tmp_path, [sensor]).play(client)
    assert [batch for batch in batches if batch] == [{7: 20, 8: 20}]


def test_a_connection_that_cannot_be_cut_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_threads(sockets: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(cutter, "cut", out_of_threads)
    stream = shows(20, "203.0.113.9", "x.test", 443, REFUSED, cookie=7)

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        assert report_of(channel.ask("finish")).exit_code is ExitCode.DENIED

    assert not Scene(tmp_path, [FakeSensor([begin(), stream])]).play(client).orphaned


def test_reduced_coverage_is_said_in_the_report_and_the_journal(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [FakeSensor([begin(Mode.AUDIT)])], note="No kernel.")

    def client(channel: Channel) -> None:
        assert arm(channel, request(POLICY))["note"] == "No kernel."
        assert "No kernel." in report_of(channel.ask("finish")).coverage.notes

    scene.play(client)
    assert scene.journal()[0]["notes"] == ["No kernel."]


def test_what_could_not_be_undone_is_said_in_the_report(tmp_path: Path) -> None:
    told = "What `lockdown` took was not given back: `sudo:1001` (no space left)."
    scene = Scene(tmp_path, [FakeSensor([begin()])])
    raised = scene.raise_guard
    scene.raise_guard = lambda *asked, **more: replace(  # type: ignore[method-assign]
        raised(*asked, **more), undo=lambda: (told,)
    )

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        assert told not in report_of(channel.ask("report")).coverage.notes
        assert told in report_of(channel.ask("finish")).coverage.notes

    scene.play(client)
    kept = fold.load_final(tmp_path)
    assert kept is not None and told in kept.coverage.notes


def test_a_full_disk_costs_the_journal_not_the_report(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    scene = Scene(tmp_path, [FakeSensor([begin(), DENIED])], journal_fd=full)

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        report = report_of(channel.ask("finish"))
        assert report.exit_code is ExitCode.DENIED
        assert report.coverage.lost_events == 0
        assert any("journal could not be written" in note for note in report.coverage.notes)

    scene.play(client)


def test_a_machine_that_cannot_ends_the_agent(tmp_path: Path) -> None:
    scene = Scene(tmp_path, refusal=UnsupportedError("no BTF", fix="another kernel"))

    def client(channel: Channel) -> None:
        with pytest.raises(LeakstopError, match="no BTF") as caught:
            arm(channel, request())
        assert caught.value.exit_code is ExitCode.UNSUPPORTED
        with pytest.raises(LeakstopError):
            channel.ask("status")

    assert not scene.play(client).orphaned


def test_an_agent_that_nobody_arms_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "UNARMED_S", 0.05)
    monkeypatch.setattr(agent_module, "TICK_S", 0.01)

    def client(channel: Channel) -> None:
        assert channel.receive() is None

    Scene(tmp_path).play(client)


@pytest.mark.parametrize("question", ["nonsense", "", None, 5, ["status"]])
def test_an_unknown_question_is_refused(tmp_path: Path, question: object) -> None:
    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        channel.send({"ask": question})
        answer = channel.receive()
        assert answer is not None
        assert (answer["ok"], answer["error"]["exit"]) == (False, 2)
        assert channel.ask("status")["state"] == "armed"
        channel.ask("finish")

    Scene(tmp_path, [FakeSensor([begin()])]).play(client)


@pytest.mark.parametrize("question", ["report", "words", "finish"])
def test_without_a_guard_there_is_no_report(tmp_path: Path, question: str) -> None:
    def client(channel: Channel) -> None:
        with pytest.raises(LeakstopError, match="nothing is guarded"):
            channel.ask(question)

    Scene(tmp_path).play(client)


def test_an_owner_that_dies_ends_the_guard_in_order(tmp_path: Path) -> None:
    sensor = FakeSensor([begin()])
    scene = Scene(tmp_path, [sensor])
    agent = scene.play(lambda channel: arm(channel, request(POLICY)) and None)
    assert agent.orphaned
    assert sensor.closed
    assert scene.journal()[-1]["kind"] == "finished"


def test_a_worker_that_is_gone_ends_the_guard(tmp_path: Path) -> None:
    worker = subprocess.Popen(["sleep", "60"])
    scene = Scene(tmp_path, [FakeSensor([begin()])])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY, worker_pid=worker.pid))
        assert channel.ask("status")["state"] == "armed"
        worker.kill()
        worker.wait()
        assert channel.receive() is None

    assert not scene.play(client).orphaned
    final = fold.load_final(tmp_path)
    assert final is not None
    assert final.coverage.complete


def test_a_worker_that_was_never_there_is_refused(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    def client(channel: Channel) -> None:
        with pytest.raises(LeakstopError, match="worker"):
            arm(channel, request(POLICY, worker_pid=gone.pid))

    Scene(tmp_path, [FakeSensor([begin()])]).play(client)


def test_sigterm_ends_the_guard_in_order(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [FakeSensor([begin()])])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        os.kill(os.getpid(), signal.SIGTERM)
        assert channel.receive() is None

    scene.play(client)
    assert fold.load_final(tmp_path) is not None


def test_who_has_no_key_may_look_but_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leakstop.daemon.control.peer_uid", lambda _: 1001)
    key = secrets.token_hex(8)
    scene = Scene(tmp_path, [FakeSensor([begin()])], owner_uid=1001)

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY, finish_key=key))
        for question in ("finish", "words", "arm"):
            with pytest.raises(LeakstopError, match="only the one who armed"):
                channel.ask(question, request={}, key="guess")
        assert not report_of(channel.ask("report")).findings
        assert report_of(channel.ask("finish", key=key)).exit_code is ExitCode.CLEAN

    scene.play(client)


def test_a_second_guard_takes_over_what_the_first_saw(tmp_path: Path) -> None:
    """The action's ``pre`` observes, ``main`` brings the policy: one journal, one report."""
    observing = make_policy(mode=Mode.AUDIT)
    first = FakeSensor([started(Mode.AUDIT, ts_ns=1_000_000, policy_digest=observing.digest)])
    early = connects(10, "203.0.113.1", 443, REFUSED, ts_ns=2_000_000)
    second = FakeSensor([started(Mode.BLOCK, ts_ns=3_000_000, policy_digest=POLICY.digest)])
    scene = Scene(tmp_path, [first, second])

    def client(channel: Channel) -> None:
        arm(channel, request(observing))
        first.show(early)
        assert arm(channel, request(POLICY))["mode"] == "block"
        assert first.closed
        assert channel.ask("status")["armed"] == 2
        second.show(DENIED)
        report = report_of(channel.ask("finish"))
        assert report.mode is Mode.BLOCK
        assert report.policy.digest == POLICY.digest
        assert report.offset_ns == 1_000_000
        assert [flow.ip for flow in report.flows] == ["203.0.113.1", "203.0.113.9"]
        assert len([note for note in report.coverage.notes if "another policy" in note]) == 1

    scene.play(client)
    kinds = [record["kind"] for record in scene.journal()]
    assert kinds == ["started", "connect", "started", "connect", "finished"]


def test_the_first_words_are_kept(tmp_path: Path) -> None:
    """Later ones were asked when the job could have changed them."""
    scene = Scene(tmp_path, [FakeSensor([begin()]) for _ in range(2)])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        assert fold.load_state(tmp_path).words == ""
        for words in ("first", "second", ""):
            channel.ask("words", words=words)
            assert fold.load_state(tmp_path).words == "first"
        arm(channel, request(POLICY))
        assert fold.load_state(tmp_path).words == "first"
        channel.ask("finish")

    scene.play(client)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o640


def test_a_second_guard_that_fails_leaves_the_first_in_force(tmp_path: Path) -> None:
    sensor = FakeSensor([begin()])
    scene = Scene(tmp_path, [sensor])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        scene.refusal = UnsupportedError("no more memory")
        with pytest.raises(LeakstopError, match="no more memory"):
            arm(channel, request(POLICY))
        assert not sensor.closed
        sensor.show(DENIED)
        assert report_of(channel.ask("finish")).exit_code is ExitCode.DENIED

    scene.play(client)


def test_a_second_guard_on_a_full_disk_still_stops_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(killer, "kill", lambda pid, _: killed.append(pid))
    leak = connects(20, "203.0.113.9", 80, LEAKING, hits=carrying("NPM_TOKEN"))
    sensors = [FakeSensor([begin()]), FakeSensor([begin(), leak])]
    scene = Scene(tmp_path, sensors, journal_fd=os.open("/dev/full", os.O_WRONLY))

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY))
        arm(channel, request(POLICY))
        assert report_of(channel.ask("finish")).exit_code is ExitCode.FINDINGS

    scene.play(client)
    assert killed == [20]


def test_the_state_beside_the_journal_holds_no_value(tmp_path: Path) -> None:
    token = secrets.token_hex(20)
    scene = Scene(tmp_path, [FakeSensor([begin()])])

    def client(channel: Channel) -> None:
        arm(channel, request(POLICY, secrets=(Secret("DEPLOY_TOKEN", token.encode()),)))
        channel.ask("finish")

    scene.play(client)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"state.json", "final.json", "events.ndjson"}
    assert b"DEPLOY_TOKEN" in (tmp_path / "state.json").read_bytes()
    assert not [path for path in files if token.encode() in path.read_bytes()]
