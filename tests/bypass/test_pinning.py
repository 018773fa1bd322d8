# SPDX-License-Identifier: MIT
"""No interception: who pins a certificate, or has one, notices nothing of the guard."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from lab import Lab
from lab.collector import Stream
from lab.guard import Guarded
from lab.network import HOME

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

PORT = 8443
POLICY = f"version: 1\nallow: https://home.test:{PORT}\n"


@pytest.fixture
def strict(lab: Lab) -> tuple[Lab, list[str]]:
    """A server that asks for a certificate, and a client that has one and pins the server's key."""
    authority = trustme.CA(organization_name="strict")
    ours, theirs = authority.issue_cert("home.test"), authority.issue_cert("client.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    ours.configure_cert(context)
    authority.configure_trust(context)
    lab.listen([], tcp={PORT: lambda: Stream(lab.home, context)}, bound=HOME[:1])
    key, trusted = Path(lab.directory, "client.pem"), Path(lab.directory, "strict.pem")
    theirs.private_key_and_cert_chain_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trusted))
    public = load_pem_x509_certificate(ours.cert_chain_pems[0].bytes()).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(der).digest()).decode()
    files = ["--cert", str(key), "--cacert", str(trusted)]
    return lab, ["curl", "-4sS", *files, "--pinnedpubkey", f"sha256//{pin}", "-d", "some data"]


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_mutual_tls_with_a_pinned_key(
    strict: tuple[Lab, list[str]], leakstop: Guard, mode: str
) -> None:
    lab, curl = strict
    run = leakstop([*curl, f"https://home.test:{PORT}/"], mode=mode, policy=POLICY)
    assert (run.code, run.stdout, run.findings()) == (0, "ok\n", []), run.stderr
    assert lab.home.received(b"some data")


def test_another_pin_fails_as_it_does_unguarded(strict: tuple[Lab, list[str]]) -> None:
    """Else the test above would show nothing."""
    lab, curl = strict
    other = "sha256//" + base64.b64encode(bytes(32)).decode()
    done = lab.run([*curl, "--pinnedpubkey", other, f"https://home.test:{PORT}/"])
    assert done.returncode == 90  # CURLE_SSL_PINNEDPUBKEYNOTMATCH
    assert not lab.home.received(b"some data")
