# SPDX-License-Identifier: MIT
"""What a container reaches of the machine, from its engine's description."""

from __future__ import annotations

from typing import Any

import pytest

from leakstop.sensor.powers import powers_of


def described(*, mounts: Any = (), **host: Any) -> dict[str, Any]:
    """What an engine says of a container."""
    return {"Config": {"Image": "alpine:3"}, "HostConfig": host, "Mounts": list(mounts)}


def bind(source: str, *, writable: bool = False) -> dict[str, Any]:
    """A directory of the machine."""
    return {"Type": "bind", "Source": source, "Destination": "/there", "RW": writable}


@pytest.mark.parametrize(
    ("host", "powers"),
    [
        ({}, ()),
        ({"Privileged": False, "NetworkMode": "bridge", "PidMode": "", "CapAdd": None}, ()),
        ({"Privileged": True}, ("privileged",)),
        (
            {"NetworkMode": "host", "PidMode": "host"},
            ("the host's network", "the host's processes"),
        ),
        ({"CapAdd": ["SYS_ADMIN", "cap_net_admin"]}, ("CAP_SYS_ADMIN", "CAP_NET_ADMIN")),
        ({"CapAdd": ["CHOWN"]}, ()),
        ({"Devices": [{"PathOnHost": "/dev/sda"}]}, ("the host's /dev/sda",)),
    ],
)
def test_what_was_asked_for(host: dict[str, Any], powers: tuple[str, ...]) -> None:
    assert powers_of(described(**host)) == ("alpine:3", powers)


@pytest.mark.parametrize(
    "source", ["/", "//", "/proc/1/root", "/etc/", "/run/docker.sock", "/a/.."]
)
def test_a_mount_of_what_is_the_machines(source: str) -> None:
    _, (power,) = powers_of(described(mounts=[bind(source)]))
    assert power.startswith("the host's /")


@pytest.mark.parametrize("source", ["/home/runner/work", "/etc/ssl/certs", "/procedures"])
def test_a_mount_of_what_is_the_jobs(source: str) -> None:
    assert powers_of(described(mounts=[bind(source, writable=True)]))[1] == ()


def test_programs_may_be_read_and_not_written() -> None:
    assert powers_of(described(mounts=[bind("/usr")]))[1] == ()
    assert powers_of(described(mounts=[bind("/usr", writable=True)]))[1] == ("the host's /usr",)


def test_a_volume_is_none_of_the_machines() -> None:
    assert powers_of(described(mounts=[{**bind("/"), "Type": "volume"}]))[1] == ()


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"Config": None, "HostConfig": None},
        {"Config": {"Image": 7}, "HostConfig": {"CapAdd": 7, "Devices": [7]}, "Mounts": [7]},
        {"HostConfig": {"Privileged": "yes", "Devices": 7, "CapAdd": [None]}, "Mounts": {}},
    ],
)
def test_what_makes_no_sense_has_no_powers(strange: dict[str, Any]) -> None:
    assert powers_of(strange) == ("", ())
