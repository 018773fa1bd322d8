# SPDX-License-Identifier: MIT
"""Policies and command lines that are wrong, empty or huge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.scene import leakstop as call
from lab import Lab
from lab.guard import DENIED, Guarded

pytestmark = pytest.mark.root

USAGE, POLICY = 2, 3
Run = Callable[..., Guarded]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What the command would make if it ran."""
    return tmp_path / "ran"


# -- wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "place", "what", "cure"),
    [
        ("mode: enforce", "2:7", "`mode: enforce` is not known", "audit or block"),
        ("allow: [https://home.test/x]", "2:9", "a path is not part of", "write `home.test`"),
        ("allow: *.home.test", "2:8", "reads an unquoted `*` as an alias", 'quote it: "*.home.'),
        ("alow: home.test", "2:1", "unknown key `alow`", "did you mean `allow`?"),
        ("allow:", "2:1", "`allow` has no value", "give it one, or remove the line"),
    ],
)
def test_a_broken_policy_is_3_and_says_where_what_and_the_cure(
    leakstop: Run, mark: Path, line: str, place: str, what: str, cure: str
) -> None:
    done = leakstop(["touch", mark], policy=f"version: 1\n{line}\n")
    assert done.code == POLICY
    assert f".yml:{place}: error: " in done.stderr
    assert what in done.stderr
    assert f"\n   = {cure}" in done.stderr
    assert not mark.exists()
    assert not done.has_report


def test_a_policy_that_is_not_there_is_3(lab: Lab, mark: Path) -> None:
    done = call(lab, "run", "--policy", "none.yml", "--", "touch", mark)
    assert done.returncode == POLICY
    assert "error: `none.yml` could not be read: No such file or directory" in done.stderr
    assert "\n   = check the path" in done.stderr
    assert not mark.exists()


def test_a_policy_that_names_a_file_that_is_not_there_is_3(leakstop: Run, mark: Path) -> None:
    policy = "version: 1\nallow: home.test\nextends:\n  - ./team/base.yml\n"
    done = leakstop(["touch", mark], policy=policy)
    assert done.code == POLICY
    assert ".yml:4:5: error: " in done.stderr, "the line that names it, not the file that is not"
    assert "/team/base.yml` could not be read: No such file or directory" in done.stderr
    assert not mark.exists()


def test_more_combinations_than_the_kernel_has_bits_for_are_3(leakstop: Run, mark: Path) -> None:
    rules = "".join(f"  - host{port}.test:{port}\n" for port in range(2000, 2257))
    done = leakstop(["touch", mark], policy=f"version: 1\nmode: block\nallow:\n{rules}")
    assert done.code == POLICY
    assert "different combinations of ports and scopes; the limit is 256" in done.stderr
    assert "\n   = write one range of ports" in done.stderr
    assert not mark.exists()


def test_an_unknown_flag_is_2(lab: Lab, mark: Path) -> None:
    done = call(lab, "run", "--no-such-flag", "--", "touch", mark)
    assert done.returncode == USAGE
    assert "error: `--no-such-flag` is not known; `leakstop run --help` lists" in done.stderr
    assert not mark.exists()


def test_a_command_without_dashes_is_2_and_shown_as_it_should_be(lab: Lab, mark: Path) -> None:
    done = call(lab, "run", "--mode", "block", "touch", mark)
    assert done.returncode == USAGE
    assert f"what is guarded follows `--`: leakstop run [options] -- touch {mark}" in done.stderr
    assert not mark.exists()


def test_an_unknown_mode_on_the_command_line_is_2(lab: Lab, mark: Path) -> None:
    done = call(lab, "run", "--mode", "enforce", "--", "touch", mark)
    assert done.returncode == USAGE
    assert "'enforce' (choose from " in done.stderr
    assert "audit" in done.stderr and "block" in done.stderr
    assert not mark.exists()


# -- legal, and to be met with calm ---------------------------------------------------------


def test_a_host_that_does_not_resolve_may_stand_in_a_policy(leakstop: Run) -> None:
    policy = "version: 1\nmode: block\nallow: [gone.test, home.test]\n"
    script = "curl -sS https://gone.test/; echo $?; curl -sS https://home.test/"
    done = leakstop(["sh", "-c", script], policy=policy)
    assert (done.code, done.stdout) == (0, "6\nok\n"), "it is for curl to say that it is not there"
    assert "Could not resolve host: gone.test" in done.stderr
    assert "warning" not in done.stderr
    assert done.report["verdict"] == "pass"
    assert [flow["host"] for flow in done.report["flows"] if flow["applied"] == "deny"] == []


@pytest.mark.parametrize("line", ["", "allow: []\n"])
def test_an_empty_allow_list_in_block_is_warned_of_and_in_force(
    leakstop: Run, lab: Lab, line: str
) -> None:
    done = leakstop(
        ["curl", "-sS", "https://home.test/"], policy=f"version: 1\nmode: block\n{line}"
    )
    assert done.code == DENIED
    assert ".yml: warning: nothing is allowed: no step may reach anything" in done.stderr
    assert "\n   = add an `allow:` list, or begin with `mode: audit`" in done.stderr
    assert lab.home.bytes_received == 0


@pytest.mark.parametrize("form", ["a text", "a list"])
def test_a_policy_of_ten_thousand_hosts(leakstop: Run, lab: Lab, form: str) -> None:
    names = [*(f"host{number}.example.test" for number in range(9_999)), "home.test"]
    head = "allow: |\n" if form == "a text" else "allow:\n"
    item = "  " if form == "a text" else "  - "
    policy = f"version: 1\nmode: block\n{head}" + "".join(f"{item}{name}\n" for name in names)
    script = "curl -sS https://home.test/; curl -sS https://other.test/; exit 0"
    done = leakstop(["sh", "-c", script], policy=policy)
    assert (done.code, done.stdout) == (DENIED, "ok\n"), done.stderr
    assert "denied: other.test" in done.stderr
    assert lab.other.bytes_received == 0
    assert done.report["coverage"]["lost_events"] == 0
