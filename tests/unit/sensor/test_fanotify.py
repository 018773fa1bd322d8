# SPDX-License-Identifier: MIT
"""fanotify(7) tells who touched a file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakstop.sensor import fanotify
from leakstop.sensor.fanotify import Files, Names

pytestmark = pytest.mark.root


@pytest.fixture
def files() -> Iterator[Files]:
    opened = Files()
    yield opened
    opened.close()


@pytest.fixture
def names() -> Iterator[Names]:
    opened = Names()
    yield opened
    opened.close()


def run(script: str, path: Path) -> int:
    process = subprocess.Popen(["/bin/sh", "-c", script, "sh", str(path)])
    assert process.wait() == 0
    return process.pid


def test_who_wrote_a_file_is_told_with_the_file(files: Files, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n")
    files.watch(str(log), fanotify.OPEN | fanotify.MODIFY | fanotify.CLOSE_WRITE)
    writer = run('echo two >> "$1"', log)

    touches = list(files.touches())
    assert {touch.pid for touch in touches} == {writer}
    assert {touch.path for touch in touches} == {str(log)}
    status = log.stat()
    assert {touch.inode for touch in touches} == {(status.st_dev, status.st_ino)}
    done = 0
    for touch in touches:
        done |= touch.mask
    assert done == fanotify.OPEN | fanotify.MODIFY | fanotify.CLOSE_WRITE
    assert not list(files.touches())


def test_a_file_that_only_was_read_was_not_modified(files: Files, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n")
    files.watch(str(log), fanotify.OPEN | fanotify.MODIFY | fanotify.CLOSE_WRITE)
    reader = run('read -r line < "$1"', log)
    assert [(touch.pid, touch.mask) for touch in files.touches()] == [(reader, fanotify.OPEN)]


def test_a_file_cut_to_nothing_was_closed_by_a_writer(files: Files, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n")
    files.watch(str(log), fanotify.CLOSE_WRITE)
    writer = run(': > "$1"', log)
    assert [(t.pid, t.mask) for t in files.touches()] == [(writer, fanotify.CLOSE_WRITE)]


def test_what_children_of_a_directory_undergo_is_told(files: Files, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("one\n")
    files.watch(str(tmp_path), fanotify.CLOSE_WRITE, children=True)
    writer = run('echo two >> "$1/hosts"', tmp_path)
    assert [(t.pid, t.path) for t in files.touches()] == [(writer, str(tmp_path / "hosts"))]


def test_a_file_put_in_another_s_place_is_told_by_its_name(names: Names, tmp_path: Path) -> None:
    names.watch(str(tmp_path), fanotify.CREATE | fanotify.MOVED_TO | fanotify.DELETE)
    run('echo > "$1/hosts.new"; mv "$1/hosts.new" "$1/hosts"; rm "$1/hosts"', tmp_path)
    seen = {Path(touch.path).name for touch in names.touches()}
    assert seen == {"hosts.new", "hosts"}


def test_a_file_cut_by_its_path_was_modified(names: Names, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\n")
    names.watch(str(tmp_path), fanotify.MODIFY)
    writer = run('exec truncate -s 1 "$1/log"', tmp_path)
    assert [(t.pid, t.path) for t in names.touches()] == [(writer, f"{tmp_path}/log")]


def test_nobody_is_told_of_names_elsewhere(names: Names, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    names.watch(str(tmp_path / "here"), fanotify.CREATE)
    run('echo > "$1/file"', tmp_path / "there")
    assert not list(names.touches())


def test_a_missing_file_is_an_error_that_names_it(files: Files, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        files.watch(str(tmp_path / "none"), fanotify.OPEN)
