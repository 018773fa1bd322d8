# SPDX-License-Identifier: MIT
"""T71, T72, T74 of the attacks on monitors: netfilter, routes, resolver, sudoers; each is told,
with who did it, and none is polled for."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.sensor.files import FileWatch, Watched
from leakstop.sensor.follower import Follower
from leakstop.sensor.network import NetworkWatch, _changes
from tamper.apart import apart

pytestmark = pytest.mark.root


def told(watch: Follower, act: Callable[[], int]) -> tuple[int, list[Event]]:
    """What ``watch`` tells of what ``act`` does, once it wakes; and what ``act`` returned."""
    with select.epoll() as epoll:
        assert watch.start() == ()
        watch.wake(epoll.fileno())
        assert not epoll.poll(0.05), "it wakes before anything has happened"
        pid = act()
        assert epoll.poll(5), "it does not wake"
        events = list(watch.follow())
        watch.close()
    return pid, events


def ran(*command: str) -> int:
    """Run ``command`` and return its pid."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = process.communicate()
    assert process.returncode == 0, said.decode()
    return process.pid


@pytest.mark.parametrize(
    ("command", "trick", "what"),
    [
        (("nft", "add", "table", "inet", "mine"), Trick.FIREWALL, "netfilter's rules"),
        (("nft", "add table inet a; flush ruleset"), Trick.FIREWALL, "netfilter's rules"),
        (("ip", "addr", "add", "192.0.2.1/32", "dev", "lo"), Trick.ROUTES, "an address"),
        (("ip", "route", "add", "unreachable", "198.51.100.0/24"), Trick.ROUTES, "a route"),
        (("ip", "rule", "add", "pref", "7", "table", "7"), Trick.ROUTES, "a routing rule"),
        (("ip", "-6", "rule", "add", "pref", "7", "table", "7"), Trick.ROUTES, "a routing rule"),
    ],
)
def test_the_network_is_changed(command: tuple[str, ...], trick: Trick, what: str) -> None:
    def work() -> None:
        pid, events = told(NetworkWatch(), lambda: ran(*command))
        assert {(e.pid, e.trick, e.what) for e in events if isinstance(e, Tamper)} >= {
            (pid, trick, what)
        }

    apart(work)


@pytest.mark.parametrize(
    ("kind", "action", "told"),
    [(44, "pedit", True), (48, "nat", True), (44, "gact", False), (45, "pedit", False)],
)
def test_packets_are_rewritten_behind_the_guard(kind: int, action: str, told: bool) -> None:
    """What the kernel says of a filter, by its layout: not every kernel has these actions."""
    name = attribute(1, action.encode() + b"\0")
    body = bytes(20) + attribute(1, b"u32\0") + attribute(2, attribute(7, attribute(1, name)))
    message = struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 77) + body
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        theirs.send(message)
        found = list(_changes(socket.NETLINK_ROUTE, ours))
    what = f"an action `{action}` of traffic control"
    assert found == [(77, Trick.REWRITE, what)] * told


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def test_a_filter_that_rewrites_nothing_is_told_by_nobody() -> None:
    def work() -> None:
        ran("ip", "link", "set", "lo", "up")
        script = "tc qdisc add dev lo clsact && tc filter add dev lo egress u32 match u32 0 0"
        _, events = told(NetworkWatch(), lambda: ran("sh", "-c", script))
        assert events == []

    apart(work)


WATCHED = (
    Watched("{}/etc", ("resolv.conf", "hosts"), Trick.RESOLVER),
    Watched("{}/etc/sudoers.d", ("*",), Trick.PRIVILEGES),
)


@pytest.mark.parametrize(
    ("script", "trick", "name"),
    [
        ("echo >> etc/hosts", Trick.RESOLVER, "etc/hosts"),
        ("sed -i s/a/b/ etc/resolv.conf", Trick.RESOLVER, "etc/resolv.conf"),
        ("mv other etc/resolv.conf", Trick.RESOLVER, "etc/resolv.conf"),
        ("ln -sf /dev/null etc/hosts", Trick.RESOLVER, "etc/hosts"),
        ("rm etc/hosts", Trick.RESOLVER, "etc/hosts"),
        ("echo x > etc/sudoers.d/runner", Trick.PRIVILEGES, "etc/sudoers.d/runner"),
    ],
)
def test_a_file_is_changed(tmp_path: Path, script: str, trick: Trick, name: str) -> None:
    (tmp_path / "etc/sudoers.d").mkdir(parents=True)
    for file in ("etc/hosts", "etc/resolv.conf", "other"):
        (tmp_path / file).write_text("a\n")
    watched = [Watched(each.directory.format(tmp_path), each.names, each.trick) for each in WATCHED]
    watch = FileWatch(watched, Masker(()))
    _, events = told(watch, lambda: ran("sh", "-c", f"cd {tmp_path}; {script}"))
    found = {(e.trick, e.what) for e in events if isinstance(e, Tamper)}
    assert found == {(trick, str(tmp_path / name))}
    assert all(e.pid > 0 for e in events if isinstance(e, Tamper))


def test_other_files_beside_it_are_not_told(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    watched = [Watched(f"{tmp_path}/etc", ("hosts",), Trick.RESOLVER)]
    _, events = told(
        FileWatch(watched, Masker(())),
        lambda: ran("sh", "-c", f"touch {tmp_path}/etc/motd {tmp_path}/etc/hosts.new"),
    )
    assert events == []


def test_what_we_change_ourselves_is_not_told(tmp_path: Path) -> None:
    watched = [Watched(str(tmp_path), ("*",), Trick.PRIVILEGES)]

    def write() -> int:
        (tmp_path / "zzzz").write_text("x")
        return os.getpid()

    assert told(FileWatch(watched, Masker(())), write)[1] == []


@pytest.mark.parametrize("file", ["set_env_0001", "set_env_0002"])
def test_a_variable_for_later_steps(tmp_path: Path, file: str) -> None:
    own, secret = tmp_path / "set_env_0001", os.urandom(12).hex()
    watch = FileWatch((), Masker([Secret("A", secret.encode())]), str(own))
    lines = f"LD_PRELOAD=/tmp/{secret}.so\\nLD_LIBRARY_PATH=/opt\\n"
    _, events = told(watch, lambda: ran("sh", "-c", f"printf '{lines}' >> {tmp_path / file}"))
    assert [(e.trick, e.what) for e in events if isinstance(e, Tamper)] == [
        (Trick.ENVIRONMENT, "LD_PRELOAD")
    ]


def test_a_file_for_variables_may_be_anything(tmp_path: Path) -> None:
    watch = FileWatch((), Masker(()), str(tmp_path / "set_env_1"))
    script = "mkfifo set_env_2; ln -s /dev/zero set_env_3; head -c 9000 /dev/urandom > set_env_4"
    assert told(watch, lambda: ran("sh", "-c", f"cd {tmp_path}; {script}"))[1] == []
