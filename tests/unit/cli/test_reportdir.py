# SPDX-License-Identifier: MIT
"""Report files land where they were asked for, whatever the guarded command does meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leakstop.cli.confined import Identity
from leakstop.cli.reportdir import JOURNAL, ReportDir
from leakstop.errors import UsageError

ME = Identity(os.geteuid(), os.getegid())


def test_the_directory_is_made(tmp_path: Path) -> None:
    directory = ReportDir(tmp_path / "a" / "b", ME)
    directory.write("report.json", "{}\n")
    assert (tmp_path / "a" / "b" / "report.json").read_text() == "{}\n"


def test_a_file_in_its_place_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="report directory") as caught:
        ReportDir(tmp_path / "file" / "below", ME)
    assert "--report-dir" in caught.value.fix


def test_old_files_are_replaced(tmp_path: Path) -> None:
    directory = ReportDir(tmp_path, ME)
    directory.write("summary.md", "a longer text")
    directory.write("summary.md", "short")
    assert (tmp_path / "summary.md").read_text() == "short"


@pytest.mark.parametrize("name", ["report.json", JOURNAL])
def test_a_link_is_replaced_never_followed(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    directory = ReportDir(tmp_path / "out", ME)
    (tmp_path / "out" / name).symlink_to(precious)
    directory.write(name, "ours")
    assert precious.read_text() == "untouched"
    assert (tmp_path / "out" / name).read_text() == "ours"


def test_a_directory_that_is_exchanged_gets_nothing(tmp_path: Path) -> None:
    directory = ReportDir(tmp_path / "out", ME)
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    directory.write("report.json", "{}")
    assert (tmp_path / "moved" / "report.json").exists()
    assert not (tmp_path / "elsewhere" / "report.json").exists()


def test_the_journal_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    directory = ReportDir(tmp_path, ME)
    with directory.create(JOURNAL) as journal:
        os.write(journal.fileno(), b"one\n")
        journal.seek(0)
        assert journal.read() == b"one\n"
        os.write(journal.fileno(), b"two\n")
        directory.settle(JOURNAL, journal)
    assert (tmp_path / JOURNAL).read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("attack", ["unlink", "replace", "link"])
def test_a_journal_that_was_moved_away_is_restored(tmp_path: Path, attack: str) -> None:
    directory = ReportDir(tmp_path / "out", ME)
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    path = tmp_path / "out" / JOURNAL
    with directory.create(JOURNAL) as journal:
        journal.write(b"evidence\n")
        path.unlink()
        if attack == "replace":
            path.write_text("nothing happened\n")
        if attack == "link":
            path.symlink_to(precious)
        directory.settle(JOURNAL, journal)
    assert path.read_bytes() == b"evidence\n"
    assert not path.is_symlink()
    assert precious.read_text() == "untouched"


@pytest.mark.root
def test_the_files_belong_to_who_asked_but_the_journal_not_before_the_end(tmp_path: Path) -> None:
    directory = ReportDir(tmp_path / "out", Identity(65534, 65534))
    with directory.create(JOURNAL) as journal:
        assert (tmp_path / "out" / JOURNAL).stat().st_uid == 0
        directory.settle(JOURNAL, journal)
    directory.write("report.json", "{}")
    owners = {path.stat().st_uid for path in (tmp_path / "out").iterdir()}
    assert owners == {65534}
    assert (tmp_path / "out").stat().st_uid == 65534
