# SPDX-License-Identifier: MIT
"""What all tests share: a clean environment, honest gates, and the lab.

A test that needs something of the machine carries a marker (``root``, ``docker``, ``act``,
``index``). ``--lab`` says what happens where it is missing: ``require`` fails the test, ``auto``
leaves it out and lists it at the end, ``off`` leaves all of them out and lists them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lab import Lab, tokens
from lab.capabilities import PROBES
from lab.guard import Guarded, guard
from lab.tokens import Token

NOT_RUN = "not run: "
# The runner's variables would make the guard believe that a test is a workflow.
_OURS = re.compile(r"(GITHUB|RUNNER|ACTIONS|INPUT|STATE|LEAKSTOP)_|(CI|NO_COLOR|FORCE_COLOR)$")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--lab``."""
    parser.addoption(
        "--lab",
        choices=("require", "auto", "off"),
        default="auto",
        help="tests that need root, docker, act or an index: fail, list or leave out",
    )


def pytest_configure() -> None:
    """Make the tests' environment the same everywhere."""
    for name in [name for name in os.environ if _OURS.match(name)]:
        del os.environ[name]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold a test against what this machine offers."""
    wanted = [marker for marker in PROBES if item.get_closest_marker(marker)]
    policy = item.config.getoption("--lab")
    if wanted and policy == "off":
        pytest.skip(f"{NOT_RUN}--lab=off leaves out {', '.join(wanted)}")
    for marker in wanted:
        if missing := PROBES[marker]():
            leave = pytest.fail if policy == "require" else pytest.skip
            leave(f"{NOT_RUN}{marker}: {missing}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not run: a green line must not hide it."""
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = [(report.nodeid, str(report.longrepr[2])) for report in skipped]
    if left_out:
        terminalreporter.section(f"NOT RUN: {len(left_out)}")
        for name, reason in left_out:
            terminalreporter.write_line(f"{name}  ({reason.partition(NOT_RUN)[2] or reason})")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A network without a way out (about 50 ms to make, so each test has its own)."""
    with Lab() as made:
        yield made


@pytest.fixture
def secret() -> Token:
    """A made-up token whose format tells where it belongs."""
    return tokens.npm()


@pytest.fixture
def leakstop(lab: Lab, tmp_path: Path) -> Callable[..., Guarded]:
    """``leakstop run`` in the lab: ``leakstop(command, mode=…, policy=…, secrets=[…])``."""
    return partial(guard, lab, reports=tmp_path)
