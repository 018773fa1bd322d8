# SPDX-License-Identifier: MIT
"""A journal that somebody else writes to is told, and by whom, as far as the kernel says that."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leakstop.daemon.custody import WHAT, Custody
from leakstop.daemon.journal import Journal, read
from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from story import fork

SECOND = 1_000_000_000


@dataclass
class Watched:
    """A journal with three events in it, and who watches it."""

    path: Path
    journal: Journal
    now: int = 0
    custody: Custody = field(init=False)

    def __post_init__(self) -> None:
        self.custody = Custody(self.journal, self._clock)
        for pid in (10, 11, 12):
            self.writes(pid)

    def _clock(self) -> int:
        self.now += SECOND
        return self.now

    def writes(self, pid: int) -> None:
        """The agent writes an event."""
        self.journal.write(fork(pid, 1))
        self.journal.flush()

    def told(self, looks: int = 2) -> list[tuple[int, str, bool]]:
        """Who, how, and whether it was put right."""
        return [_shown(tamper) for _ in range(looks) for tamper in self.custody.look()]

    def told_in_the_end(self) -> list[tuple[int, str, bool]]:
        return [_shown(tamper) for tamper in self.custody.look(whole=True)]

    def pids(self) -> list[int]:
        """Of the events in the file."""
        return [_pid(event) for event in read(self.path.read_bytes().splitlines(keepends=True))]


def _pid(event: Event) -> int:
    assert hasattr(event, "pid")
    return int(event.pid)


def _shown(tamper: Tamper) -> tuple[int, str, bool]:
    assert (tamper.trick, tamper.what) == (Trick.JOURNAL, WHAT)
    return tamper.pid, tamper.route, tamper.mended


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    path = tmp_path / "events.ndjson"
    made = Watched(path, Journal.create(path))
    yield made
    made.custody.close()


def python(code: str, path: Path) -> int:
    head = "import os, sys; path = sys.argv[1]; "
    process = subprocess.Popen([sys.executable, "-c", head + code, str(path)])
    assert process.wait() == 0
    return process.pid


def test_what_the_agent_writes_is_nothing_to_tell(watched: Watched) -> None:
    assert watched.told() == watched.told_in_the_end() == []
    watched.writes(13)
    assert watched.told() == watched.told_in_the_end() == []
    assert watched.journal.notes() == ()
    assert watched.pids() == [10, 11, 12, 13]


@pytest.mark.root
def test_what_is_added_is_taken_away(watched: Watched) -> None:
    line = watched.path.read_bytes().splitlines(keepends=True)[0]
    pid = python(f"os.write(os.open(path, os.O_WRONLY | os.O_APPEND), {line!r})", watched.path)
    assert watched.told() == [(pid, "written to", True)]
    watched.writes(13)
    assert watched.pids() == [10, 11, 12, 13]
    assert watched.told() == watched.told_in_the_end() == []
    assert watched.journal.notes() == (), "it is whole"


def test_what_is_added_while_the_agent_writes_is_taken_away(watched: Watched) -> None:
    with watched.path.open("ab") as file:
        file.write(watched.path.read_bytes())
    watched.writes(13)
    assert watched.pids() == [10, 11, 12, 13]
    assert [told[1:] for told in watched.told()] == [("written to", True)]


@pytest.mark.root
def test_who_cuts_it_by_a_descriptor_is_known(watched: Watched) -> None:
    pid = python("os.ftruncate(os.open(path, os.O_WRONLY), 20)", watched.path)
    assert watched.told() == [(pid, "cut short", False)]


def test_who_cuts_it_by_its_path_is_not(watched: Watched) -> None:
    python("os.truncate(path, 20)", watched.path)
    assert watched.told(looks=1) == [], "somebody may still be told of"
    assert watched.told(looks=3) == [(0, "cut short", False)]
    watched.writes(13)
    assert watched.told() == watched.told_in_the_end() == []
    (note,) = watched.journal.notes()
    assert note.startswith("Somebody has changed the journal: events are missing in it")


def test_in_the_end_nothing_is_waited_for(watched: Watched) -> None:
    os.truncate(watched.path, 0)
    assert watched.told_in_the_end() == [(0, "cut short", False)]


@pytest.mark.root
def test_what_is_written_over_in_its_place(watched: Watched) -> None:
    """The size is what it was, and so are the times of a file that somebody sets."""
    code = 'os.pwrite(os.open(path, os.O_WRONLY), b"9", path and 40)'
    before = watched.path.stat()
    pid = python(code, watched.path)
    os.utime(watched.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watched.told() == [(pid, "written over", False)]


@pytest.mark.root
def test_what_is_written_over_through_a_mapping(watched: Watched) -> None:
    """That is no write to the kernel; but who did it had to have it open."""
    pid = python("import mmap; mmap.mmap(os.open(path, os.O_RDWR), 0)[40:41] = b'~'", watched.path)
    assert watched.told() == [(pid, "written over", False)]


def test_what_nobody_was_seen_to_write_is_found_in_the_end(watched: Watched) -> None:
    """Here by this process, of which nothing is told as it is the agent's."""
    with watched.path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[40:41] = b"~"
    assert watched.told() == []
    assert watched.told_in_the_end() == [(0, "written over", False)]


@pytest.mark.root
def test_who_opens_it_and_writes_nothing_is_nobody(watched: Watched) -> None:
    python("os.close(os.open(path, os.O_WRONLY))", watched.path)
    assert watched.told() == watched.told_in_the_end() == []


@pytest.mark.root
def test_many_who_write_nothing_hide_nobody(watched: Watched) -> None:
    """Each one with another process id."""
    forks = "[os.fork() or os._exit(os.close(os.open(path, os.O_WRONLY)) or 0) for _ in range(200)]"
    python(f"{forks}; [os.wait() for _ in range(200)]", watched.path)
    assert watched.told() == []
    pid = python("os.ftruncate(os.open(path, os.O_WRONLY), 20)", watched.path)
    assert watched.told() == [(pid, "cut short", False)]


@pytest.mark.root
def test_the_same_bytes_once_more_change_nothing(watched: Watched) -> None:
    code = "at = os.open(path, os.O_RDWR); os.pwrite(at, os.pread(at, 30, 0), 0)"
    pid = python(code, watched.path)
    assert watched.told() == [(pid, "written to", True)]
    assert watched.told_in_the_end() == []


@pytest.mark.parametrize("script", ["mv $1 $1.old", "rm $1", "cp $1 $1.new; mv $1.new $1"])
def test_its_name_is_another_files(watched: Watched, script: str) -> None:
    assert subprocess.run(["sh", "-c", script, "sh", watched.path]).returncode == 0
    assert watched.told(looks=4) == [(0, "moved or removed", False)]


def test_where_others_may_move_it_that_is_nothing_to_tell(tmp_path: Path) -> None:
    """A report directory is the job's, and it may clean up."""
    path = tmp_path / "events.ndjson"
    watched = Watched(path, Journal(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)))
    path.unlink()
    assert watched.told() == watched.told_in_the_end() == []
    watched.custody.close()


def test_what_is_no_file_is_not_compared() -> None:
    """What is written to /dev/null is not there afterwards."""
    journal = Journal(os.open(os.devnull, os.O_WRONLY))
    for pid in (10, 11):
        journal.write(fork(pid, 1))
        journal.flush()
    assert journal.changed(whole=True) is None
    assert journal.notes() == ()


def test_a_flood_is_told_once(watched: Watched) -> None:
    told = []
    for _ in range(3):
        os.truncate(watched.path, 0)
        told += watched.told()
        watched.writes(13)
    assert told == [(0, "cut short", False)]


# -- the next agent -------------------------------------------------------------------------


def written_by_another(path: Path, *, then: str = "") -> Journal:
    """A journal to which an agent has written that was killed; ``then`` somebody did something."""
    journal = Journal.create(path)
    child = os.fork()
    if child == 0:
        for pid in (10, 11, 12):
            journal.write(fork(pid, 1))
            journal.flush()
        os._exit(0)
    os.waitpid(child, 0)
    if then:
        assert subprocess.run(["sh", "-c", then, "sh", path]).returncode == 0
    journal.take_over()
    journal.write(fork(13, 1))
    journal.flush()
    return journal


LINE = "head -n 1 $1 >> $1"


def test_the_next_agent_goes_on_with_what_is_whole(tmp_path: Path) -> None:
    journal = written_by_another(tmp_path / "j")
    assert journal.changed(whole=True) is None
    assert journal.notes() == ()
    events = read((tmp_path / "j").read_bytes().splitlines(keepends=True))
    assert [_pid(event) for event in events] == [10, 11, 12, 13]


def test_what_was_added_while_there_was_no_agent_is_taken_away(tmp_path: Path) -> None:
    journal = written_by_another(tmp_path / "j", then=LINE)
    change = journal.changed(whole=True)
    assert change is not None and (change.route, change.mended) == ("written to", True)
    events = read((tmp_path / "j").read_bytes().splitlines(keepends=True))
    assert [_pid(event) for event in events] == [10, 11, 12, 13]
    assert journal.notes() == ()


@pytest.mark.parametrize(
    ("then", "route"),
    [
        ("truncate -s 0 $1", "cut short"),
        ("sed 1d $1 > $1.2; cat $1.2 > $1", "cut short"),
        ("sed s/10/20/ $1 > $1.2; cat $1.2 > $1", "written to"),
        (f"printf 9 | dd of=$1 conv=notrunc; {LINE}", "written to"),
    ],
)
def test_what_was_taken_away_or_forged_meanwhile_is_told(
    tmp_path: Path, then: str, route: str
) -> None:
    journal = written_by_another(tmp_path / "j", then=then)
    change = journal.changed(whole=True)
    assert change is not None and (change.route, change.mended) == (route, False)
    assert journal.changed(whole=True) is None
    (note,) = journal.notes()
    assert "while no agent watched it" in note and "forged" in note


@pytest.mark.parametrize("written", [0, 7, None])
def test_an_agent_that_was_killed_while_it_wrote(tmp_path: Path, written: int | None) -> None:
    """Nobody is accused of that; half a line is taken away."""
    path = tmp_path / "j"
    journal = Journal.create(path)
    journal.write(fork(10, 1))
    journal.flush()
    data = b'{"kind":"x"}\n'
    journal._seal.begin(data)
    os.write(journal.fileno(), data[:written])
    journal.take_over()
    assert journal.changed(whole=True) is None
    assert len(path.read_bytes().splitlines()) == (2 if written is None else 1)
    journal.write(fork(11, 1))
    journal.flush()
    assert journal.changed(whole=True) is None
    assert path.read_bytes().endswith(b"\n")
