# SPDX-License-Identifier: MIT
"""Asking a container engine: found where it listens, bounded, and never believed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leakstop.sensor import engines


@pytest.fixture(autouse=True)
def engines_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs the tests may be anybody."""
    monkeypatch.setattr(engines, "_ROOT", os.getuid())


OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[Callable[[bytes], tuple[bool, object]]]:
    """What is understood of an engine's answer."""
    path, said = str(tmp_path / "sock"), [b""]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                assert client.recv(1 << 16) == b"GET /containers/json HTTP/1.0\r\n\r\n"
                client.sendall(said[0])

        def ask(text: bytes) -> tuple[bool, object]:
            said[0] = text
            thread = threading.Thread(target=serve)
            thread.start()
            question = engines.Question(path, "/containers/json")
            try:
                while not (found := question.answer())[0]:
                    pass
            finally:
                question.close()
                thread.join()
            return found

        yield ask


def test_an_answer_is_read_to_its_end(answer: Callable[[bytes], tuple[bool, object]]) -> None:
    assert answer(OK + b'[{"Id": "1"}]') == (True, [{"Id": "1"}])
    assert answer(OK + b"[" + b'"x",' * 100_000 + b'"x"]') == (True, ["x"] * 100_001)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\n{}",
        OK + b'{"Id"',
        OK + b"\xff",
        OK + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_nothing(
    answer: Callable[[bytes], tuple[bool, object]], text: bytes
) -> None:
    assert answer(text) == (True, None)


def test_an_answer_without_end_is_cut(
    answer: Callable[[bytes], tuple[bool, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_ANSWER_MAX", 1000)
    assert answer(OK + b" " * 2000) == (True, None)


def test_who_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        question = engines.Question(path, "/")
        assert question.answer() == (False, None)
        question.close()
        monkeypatch.setattr(engines, "PATIENCE_S", 0.0)
        question = engines.Question(path, "/")
        assert question.answer() == (True, None)
        question.close()


def test_where_nobody_listens_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        engines.Question(str(tmp_path / "sock"), "/")


def test_whoever_is_not_root_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_ROOT", os.getuid() + 1)
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        server.listen()
        with pytest.raises(PermissionError):
            engines.Question(str(tmp_path / "sock"), "/")
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_engine_is_asked_where_it_listens(tmp_path: Path) -> None:
    """Of a process table that has one, beside a shell with the same socket open."""
    lines = [
        "Num       RefCount Protocol Flags    Type St Inode Path",
        "0000: 00000002 00000000 00010000 0001 01 77 /run/docker.sock",
        "0000: 00000003 00000000 00000000 0001 03 78 /run/docker.sock",
        "0000: 00000002 00000000 00010000 0001 01 79 @abstract",
        "0000: 00000002 00000000 00010000 0001 01 80 /run/other.sock",
        # What somebody makes up, who calls his socket so: /tmp/x, a line break, and the rest.
        "0000: 00000002 00000000 00010000 0001 01 81 /tmp/x",
        "0000: 00000002 00000000 zz 0001 01 77 /made/up",
        "0000: 00000002 00000000 00010000 0001 01 7z /made/up",
        "",
        "1 2 3 4 5 6 7 8 9",
    ]
    for pid, exe, held in ((10, "/usr/bin/dockerd", (77, 78, 79)), (11, "/bin/sh", (77, 80))):
        process = tmp_path / str(pid)
        (process / "net").mkdir(parents=True)
        (process / "net/unix").write_text("\n".join(lines) + "\n")
        (process / "exe").symlink_to(exe)
        (process / "fd").mkdir()
        for number, inode in enumerate(held):
            (process / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    found = engines.sockets(tmp_path)
    ours = tmp_path.stat().st_uid == 0
    assert found == [f"{tmp_path}/10/root/run/docker.sock"] * ours
