# SPDX-License-Identifier: MIT
"""Ordinary work, with secrets and beside them: no finding above "info", and everything works.

Each case has a host of its own, so a finding tells whose it is.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benign.cases import CASES
from lab import Lab, tokens
from lab.collector import Collector
from lab.guard import Guarded
from lab.network import HTTP2
from lab.services import WHEEL, Service, wheel
from lab.tokens import Token

pytestmark = [pytest.mark.root, pytest.mark.timeout(200)]

Guard = Callable[..., Guarded]

OWN = ("203.0.113.40", "2001:db8::40")
ENOUGH = 60
CASE_S = 10
POLICY = f"""\
version: 1
allow: ['*.own.test', '*.own.test:{HTTP2}', '**.hashed-name.own.test']
secrets:
  API_TOKEN: ['*.own.test', '*.own.test:{HTTP2}']
  NPM_TOKEN: '*.own.test'
  PIP_TOKEN: '*.own.test'
  GIT_TOKEN: '*.own.test'
"""


@pytest.fixture
def own(lab: Lab) -> Iterator[Collector]:
    """All hosts below own.test."""
    host = lab.serve("own.test", OWN, http2=(HTTP2,), speaks=Service)
    lab.dns.zone["*.own.test"] = OWN
    (lab.directory / WHEEL).write_bytes(wheel())
    return host


def known() -> list[Token]:
    """The job's secrets."""
    return [
        tokens.home_made("API_TOKEN"),
        tokens.npm(),
        tokens.home_made("PIP_TOKEN"),
        tokens.github("GIT_TOKEN"),
        Token("AWS_SECRET_ACCESS_KEY", secrets.token_urlsafe(30)),
    ]


def variables(lab: Lab) -> dict[str, str]:
    """What the scripts and the programs in them want to know."""
    beside = Path(sys.executable).parent
    return {
        "PYTHON": sys.executable,
        "UV": str(beside / "uv"),
        "HERE": str(Path(__file__).parent),
        "WHEEL": str(lab.directory / WHEEL),
        "AWS_ACCESS_KEY_ID": "lab",
        "GIT_SSL_CAINFO": str(lab.directory / "ca.pem"),
        "GIT_TERMINAL_PROMPT": "0",
        "PIP_CERT": str(lab.directory / "ca.pem"),
        "NPM_CONFIG_CAFILE": str(lab.directory / "ca.pem"),
        "NPM_CONFIG_UPDATE_NOTIFIER": "false",
        "UV_NO_CACHE": "1",
    }


def script(lab: Lab, cases: dict[str, str]) -> list[str]:
    """A command that runs every case in a directory of its own and keeps its exit code."""
    for name, text in cases.items():
        place = lab.directory / name
        place.mkdir()
        (place / "case.sh").write_text(f"export HOST={name}.own.test\n{text}\n")
    turn = (
        f'for case; do (cd "$case" && timeout {CASE_S} sh ./case.sh > said 2>&1; echo $? > code);'
    )
    return ["sh", "-c", f"{turn} done", "sh", *cases]


def problems(lab: Lab, own: Collector, cases: dict[str, str]) -> dict[str, str]:
    """What did not work, by case."""
    found = {}
    for name in cases:
        code = (lab.directory / name / "code").read_text().strip()
        arrived = sum(
            len(seen.plain) for seen in own.connections if seen.is_for(f"{name}.own.test")
        )
        if code != "0":
            said = (lab.directory / name / "said").read_bytes()[-300:]
            found[name] = f"exit code {code}: {said!r}"
        elif not arrived and name not in ("loopback-service", "unix-socket"):
            found[name] = "nothing arrived"
    return found


def disturbing(run: Guarded, cases: Sequence[str]) -> dict[str, list[str]]:
    """Findings above "info", by case."""
    found: dict[str, list[str]] = {}
    for finding in run.findings():
        if finding["severity"] != "info":
            host = finding["destination"].partition(":")[0]
            case = next((name for name in cases if f"{name}.own.test" in host), f"? {host}")
            found.setdefault(case, []).append(f"{finding['id']} {finding['secret']}")
    return found


@pytest.mark.parametrize("kind", sorted(CASES))
def test_unguarded_everything_works(lab: Lab, own: Collector, kind: str) -> None:
    env = {**variables(lab), **{token.name: token.value for token in known()}}
    lab.run(script(lab, CASES[kind]), env=env, timeout_s=150)
    assert problems(lab, own, CASES[kind]) == {}


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("kind", sorted(CASES))
def test_guarded_nobody_is_disturbed(
    lab: Lab, own: Collector, leakstop: Guard, kind: str, mode: str
) -> None:
    job = known()
    run = leakstop(
        script(lab, CASES[kind]),
        mode=mode,
        policy=POLICY,
        secrets=job,
        env=variables(lab),
        timeout_s=150,
    )
    assert problems(lab, own, CASES[kind]) == {}
    assert disturbing(run, list(CASES[kind])) == {}
    assert (run.code, run.report["verdict"]) == (0, "pass"), run.stderr
    assert [token.name for token in job if run.shows(token)] == []


def test_there_are_enough_cases() -> None:
    names = [name for cases in CASES.values() for name in cases]
    assert len(set(names)) == len(names) >= ENOUGH
