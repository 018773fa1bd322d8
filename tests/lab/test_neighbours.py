# SPDX-License-Identifier: MIT
"""Networks of containers that the job makes under the guard need no rule; others do."""

from __future__ import annotations

import sys

import pytest

from lab import Lab
from lab.guard import DENIED
from lab.machine import machine

pytestmark = pytest.mark.root

# As an engine does it: a bridge, and behind a veth port of it a container's namespace.
MAKE = """\
set -e
ip link add {bridge} type bridge
ip address add {gateway}/24 dev {bridge}
ip link set {bridge} up
ip link add port0 type veth peer name inside0
ip link set port0 master {bridge} up
unshare --net sh -c '
    echo $$ > pid; read -r _
    ip address add {server}/24 dev inside0 && ip link set inside0 up
    exec {python} -m http.server 8080' < go > /dev/null 2>&1 &
exec 9> go
while ! [ -s pid ]; do sleep 0.02; done
ip link set inside0 netns "$(cat pid)"
sleep 0.1
echo >&9
for _ in $(seq 40); do
    curl -s -o /dev/null -m 1 http://{server}:8080/ && echo reached && break
    sleep 0.1
done
kill "$(cat pid)"
"""


def job(bridge: str, network: str) -> list[str]:
    script = MAKE.format(
        bridge=bridge, gateway=f"{network}.1", server=f"{network}.2", python=sys.executable
    )
    return ["sh", "-c", f'cd "$(mktemp -d)" && mkfifo go\n{script}']


def test_a_network_of_containers_is_not_egress(lab: Lab) -> None:
    with machine(lab, mode="block") as guarded:
        assert "reached" in guarded.run(*job("br-0123456789ab", "172.30.7"))
        guarded.stop()
    there = [e for e in guarded.events if e["kind"] == "connect" and e["ip"] == "172.30.7.2"]
    assert {event["reason"] for event in there if event["applied"] == "allow"} == {"local"}


@pytest.mark.parametrize(
    ("bridge", "network"),
    [
        pytest.param("br-0123456789ab", "198.51.107", id="public addresses"),
        pytest.param("uplink0", "172.30.7", id="a bridge of somebody's own"),
    ],
)
def test_nobody_declares_the_world_local(lab: Lab, bridge: str, network: str) -> None:
    with machine(lab, mode="block") as guarded:
        assert "reached" not in guarded.run(*job(bridge, network))
        assert guarded.stop() == DENIED
