# SPDX-License-Identifier: MIT
"""Which resolvers are believed."""

from __future__ import annotations

import pytest

from leakstop.sensor import resolvers
from leakstop.sensor.resolvers import read_trusted, trusted

BEHIND = "nameserver 192.0.2.53\nnameserver 2001:db8::53%eth0\n"
SERVERS = ("192.0.2.53", "2001:db8::53")
STUBS = ("127.0.0.53", "127.0.0.54")
ODD_LINES = """\
# nameserver 192.0.2.9
; nameserver 192.0.2.9
 nameserver 192.0.2.9
nameserver\tnot-an-address
nameserver 192.0.2.1 trailing
options edns0
"""


@pytest.mark.parametrize(
    ("resolv", "resolved", "expected"),
    [
        ("nameserver 192.0.2.1\n", "", ("192.0.2.1",)),
        # systemd-resolved's list says nothing where its stub is not used; but that can be asked.
        ("nameserver 192.0.2.1\n", BEHIND, ("192.0.2.1", *STUBS)),
        ("nameserver 127.0.0.53\n", BEHIND, ("127.0.0.53", *SERVERS, "127.0.0.54")),
        ("nameserver 127.0.0.54\n", "", ("127.0.0.54", "127.0.0.53")),
        ("nameserver 127.0.0.11\n", BEHIND, ("127.0.0.11", *SERVERS, *STUBS)),
        ("nameserver 127.0.0.11\n", "", ("127.0.0.11",)),
        ("", BEHIND, ("127.0.0.1", *STUBS)),
        ("nameserver ::ffff:192.0.2.7\n", "", ("192.0.2.7",)),
        (
            ODD_LINES,
            "",
            ("192.0.2.1",),
        ),
        (
            "".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 6)),
            "",
            ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
        ),
        ("nameserver 192.0.2.1\nnameserver 192.0.2.1\n", "", ("192.0.2.1",)),
    ],
)
def test_trusted(resolv, resolved, expected):
    assert trusted(resolv, resolved) == expected


def test_read_trusted_takes_absent_files_as_empty(tmp_path):
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert read_trusted(tmp_path / "resolv.conf", tmp_path / "absent") == STUBS
    assert read_trusted(tmp_path / "absent", tmp_path / "absent") == ("127.0.0.1",)


@pytest.mark.parametrize(("status", "expected"), [(0, True), (1, False)])
def test_caches_are_flushed_where_systemd_resolved_runs(tmp_path, monkeypatch, status, expected):
    program = tmp_path / "resolvectl"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setattr(resolvers, "_RESOLVECTL", (tmp_path / "absent", program))
    monkeypatch.setattr(resolvers, "RESOLVED_CONF", tmp_path / "resolv.conf")
    assert resolvers.flush_caches() is expected
    assert (tmp_path / "said").read_text() == "flush-caches\n"


def test_nothing_is_flushed_where_it_does_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(resolvers, "RESOLVED_CONF", tmp_path / "absent" / "resolv.conf")
    assert resolvers.flush_caches() is False
