# SPDX-License-Identifier: MIT
"""Variables for later steps, as the runner reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leakstop.model.tamper import Tamper
from leakstop.secrets.masker import Masker
from leakstop.sensor import fanotify
from leakstop.sensor.files import HIJACKS, FileWatch, variables


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("A=1\nB=2\n", ["A", "B"]),
        ("A<<EOF\nLD_PRELOAD=in a value\nEOF\nB=2", ["A", "B"]),
        ("A=x<<EOF\nLD_PRELOAD=/x\n", ["A", "LD_PRELOAD"]),  # the first of the two signs counts
        ("A<<EOF\nnever ended\n", ["A"]),
        ("no sign at all\nB=2", ["B"]),
    ],
)
def test_the_names_that_a_file_sets(text: str, names: list[str]) -> None:
    assert list(variables(text)) == names


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "PERL5OPT"])
def test_what_runs_before_a_program_does(name: str) -> None:
    assert HIJACKS.fullmatch(name)


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "PYTHONPATH", "PATH", "MY_ENV", "ld_preload"])
def test_what_ordinary_actions_set(name: str) -> None:
    assert not HIJACKS.fullmatch(name)


class Told:
    """Stands in for the kernel: everything in the directory was moved there."""

    def watch(self, directory: str, mask: int) -> None:
        self._directory = Path(directory)

    def touches(self) -> Iterator[fanotify.Touch]:
        for path in sorted(self._directory.iterdir()):
            yield fanotify.Touch(7, fanotify.MOVED_TO, str(path))


def _pipe(path: Path) -> int:
    """One that somebody has open: to read from it would be to wait."""
    os.mkfifo(path)
    return os.open(path, os.O_RDWR)


def _text(path: Path) -> None:
    path.write_text("LD_PRELOAD=/tmp/x.so\n")


def _link(path: Path) -> None:
    _text(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize(
    ("make", "told"),
    [(_text, ["LD_PRELOAD"]), (Path.mkdir, []), (_pipe, []), (_link, [])],
)
def test_what_a_job_puts_there_may_be_anything(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], int | None],
    told: list[str],
) -> None:
    monkeypatch.setattr(fanotify, "Names", Told)
    held = make(tmp_path / "set_env_2")
    watch = FileWatch((), Masker(()), str(tmp_path / "set_env_1"))
    assert watch.start() == ()
    open_before = len(os.listdir("/proc/self/fd"))
    found = list(watch.follow())
    assert [event.what for event in found if isinstance(event, Tamper)] == told
    assert len(os.listdir("/proc/self/fd")) == open_before
    if held is not None:
        os.close(held)
