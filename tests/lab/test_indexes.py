# SPDX-License-Identifier: MIT
"""What the package managers of this machine say is where they really go.

Each is run for real behind a proxy of ours that notes which host it asks for. The hosts are
those of the machine, whichever they are: none is written here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from leakstop.sensor import indexes

pytestmark = [pytest.mark.index, pytest.mark.timeout(120)]


class Proxy:
    """An HTTP proxy that passes everything on and remembers who was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                received = client.recv(4096)
                if not received:
                    return
                head += received
            method, target, _ = head.split(b"\r\n")[0].decode().split()
            tunnel = method == "CONNECT"
            parts = urlsplit(f"https://{target}" if tunnel else target)
            port = parts.port or 80
            self.asked.append(f"{parts.scheme}://{parts.hostname}:{port}")
            with socket.create_connection((parts.hostname or "", port), timeout=30) as server:
                if tunnel:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    server.sendall(head)
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join(30)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    yield running
    running.close()


def go(command: Sequence[str], proxy: Proxy, directory: Path) -> None:
    """Run a package manager through the proxy."""
    environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environ |= {"http_proxy": proxy.url, "https_proxy": proxy.url}
    if not shutil.which(command[0]):
        pytest.skip(f"not run: index: not installed: {command[0]}")
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("word", "command"),
    [
        (
            "registry:pip",
            ("python3", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "six"),
        ),
        ("registry:npm", ("npm", "pack", "--prefer-online", "is-number")),
        ("registry:apt", ("apt-get", "download", "hostname")),
    ],
)
def test_a_manager_goes_only_where_it_said(word, command, proxy, tmp_path):
    said = indexes.resolve_with_notes(frozenset({word}))
    go(command, proxy, tmp_path)
    assert proxy.asked, "it asked nobody, so this would prove nothing"
    assert set(proxy.asked) <= set(said.destinations[word])
    assert said.notes == ()


def test_a_project_that_somebody_left_above_does_not_decide(tmp_path, monkeypatch):
    """npm looks upwards for a project; the directory for temporary files is everybody's."""
    if not shutil.which("npm"):
        pytest.skip("not run: index: not installed: npm")
    honest = indexes.resolve(frozenset({"registry:npm"}))
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / ".npmrc").write_text("registry=https://planted.test/\n")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    assert indexes.resolve(frozenset({"registry:npm"})) == honest
