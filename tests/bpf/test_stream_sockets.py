# SPDX-License-Identifier: MIT
"""The stream parsers on real sockets: packets before segmentation, and pages that can change."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpf.harness import compiled
from bpf.hellos import KEY_SHARE, extension, hello, noise, records, server_name
from bpf.stream_corpus import NAME, request
from lab.cgroup import child, command_in
from lab.namespace import Namespace
from leakstop.bpf.libbpf import Object, library

pytestmark = pytest.mark.root

HELLO = records(hello(extension(KEY_SHARE, noise(5000)), server_name(NAME)))
BODY = bytes(400_000)
HEAD = request("PUT / HTTP/1.1", "Host: a.test", f"Content-Length: {len(BODY)}")
CLIENT = Path(__file__).with_name("stream_client.py")


@dataclass(frozen=True)
class Counts:
    """``struct counts``"""

    shown: int
    dropped: int
    largest: int
    bytes: int


class Scene:
    """A namespace with a server in it, and a cgroup whose streams are read."""

    def __init__(self, group: Path, space: Namespace, loaded: Object) -> None:
        self._group, self._space, self._loaded = group, space, loaded

    def send(self, *parts: tuple[str, bytes], tmp_path: Path) -> tuple[bytes, Counts]:
        """Send the parts, each by the call it names; return what the server got."""
        self._loaded.map("socket_counts").update(bytes(4), bytes(16))
        files = []
        for number, (how, data) in enumerate(parts):
            file = tmp_path / str(number)
            file.write_bytes(data)
            files.append((how, str(file)))
        wanted = sum(len(data) for _, data in parts)
        listener = self._space.call(lambda: socket.create_server(("127.0.0.1", 0)))
        with listener, ThreadPoolExecutor(1) as pool:
            got = pool.submit(_receive, listener, wanted)
            port = str(listener.getsockname()[1])
            command = [sys.executable, str(CLIENT), port, json.dumps(files)]
            self._space.call(
                lambda: subprocess.run(command_in(self._group, command), check=True, timeout=20)
            )
            raw = self._loaded.map("socket_counts").lookup(bytes(4), 16)
            assert raw
            return got.result(), Counts(*struct.unpack("4I", raw))


def _receive(listener: socket.socket, wanted: int) -> bytes:
    """All that comes; says so when it is as much as is wanted."""
    listener.settimeout(10)
    connection, _ = listener.accept()
    got = b""
    with connection:
        connection.settimeout(10)
        try:
            while len(got) < wanted and (data := connection.recv(65536)):
                got += data
            connection.send(b"k")
        except ConnectionResetError:
            pass
    return got


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    loaded, space = Object(library(), compiled("stream")), Namespace()
    try:
        loaded.load()
        # Smaller packets than the loopback's own, so that segmentation is put off.
        up = ["ip", "link", "set", "lo", "mtu", "1500", "up"]
        space.call(lambda: subprocess.run(up, check=True))
        with child() as group:
            directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
            link = loaded.attach_cgroup("stream_egress", directory)
            os.close(directory)
            yield Scene(group, space, loaded)
            link.close()
    finally:
        space.close()
        loaded.close()


def test_packets_before_segmentation(scene: Scene, tmp_path: Path) -> None:
    data = HEAD + BODY
    got, counts = scene.send(("send", data), tmp_path=tmp_path)
    assert (got == data, counts.shown, counts.dropped, counts.bytes) == (True, 1, 0, len(data))
    assert counts.largest > 16 * 1024


def test_a_hello_from_memory(scene: Scene, tmp_path: Path) -> None:
    got, counts = scene.send(("send", HELLO), ("send", BODY), tmp_path=tmp_path)
    assert (got == HELLO + BODY, counts.shown, counts.dropped) == (True, 1, 0)


@pytest.mark.parametrize("how", ["sendfile", "zerocopy"])
def test_a_hello_that_could_change_on_its_way(scene: Scene, how: str, tmp_path: Path) -> None:
    got, counts = scene.send((how, HELLO), tmp_path=tmp_path)
    assert (got, counts.shown) == (b"", 0)
    assert counts.dropped > 0


@pytest.mark.parametrize("how", ["sendfile", "zerocopy"])
def test_a_body_may_be_a_file(scene: Scene, how: str, tmp_path: Path) -> None:
    got, counts = scene.send(("send", HEAD), (how, BODY), tmp_path=tmp_path)
    assert (got == HEAD + BODY, counts.shown, counts.dropped) == (True, 1, 0)
