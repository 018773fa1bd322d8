# SPDX-License-Identifier: MIT
"""From a packet to what was asked, answered or opened. The only module that imports scapy."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from typing import Any

from scapy.layers.dns import DNS, dnstypes
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from leakstop.sensor.heard import DOCKER_RESOLVER, Answered, Asked, Message, Opened

_CLASS_IN = 1
_CNAME = 5
_A_AND_AAAA = (1, 28)

# It warns of every odd packet; the packets here come from anybody.
logging.getLogger("scapy").setLevel(logging.CRITICAL)


def dissect(data: bytes, ipv6: bool) -> Message | None:
    """Read an IP packet that passed the filter; ``None`` for DNS that says nothing of use."""
    try:
        return _message((IPv6 if ipv6 else IP)(data))
    except Exception:  # noqa: BLE001
        # scapy raises whatever its fields raise (struct.error, IndexError, its own …), and
        # gives layers of unexpected kinds. A packet from anybody must not end the agent.
        return None


def _message(packet: Any) -> Message | None:
    if packet.haslayer(TCP):
        return Opened(packet.src, packet[TCP].sport, packet.dst, packet[TCP].dport)
    if not packet.haslayer(UDP):
        return None
    udp = packet[UDP]
    if packet.haslayer(DNS):
        message = packet[DNS]
    elif DOCKER_RESOLVER in (packet.src, packet.dst):
        message = DNS(bytes(udp.payload))
    else:
        return None
    if len(message.qd) != 1:
        return None
    question = message.qd[0]
    name = _text(question.qname)
    if not name:  # the root, or a name without an end
        return None
    if not message.qr:
        qtype = str(dnstypes.get(question.qtype, f"TYPE{question.qtype}"))
        return Asked(name, qtype, packet.dst, packet.src, udp.sport, message.id)
    addresses, ttl_s = _addresses(name, message.an)
    if not addresses:
        return None
    return Answered(name, addresses, ttl_s, packet.src, udp.dport, message.id)


def _addresses(name: str, records: Any) -> tuple[tuple[str, ...], int]:
    """Addresses of ``name`` along its chain of aliases, and the shortest time to live."""
    chain, addresses, ttls = {name.lower()}, [], []
    for record in records:
        if record.rclass != _CLASS_IN or _text(record.rrname).lower() not in chain:
            continue
        if record.type == _CNAME:
            chain.add(_text(record.rdata).lower())
        elif record.type in _A_AND_AAAA:
            addresses.append(str(ip_address(str(record.rdata))))
        else:
            continue
        ttls.append(int(record.ttl))
    return tuple(addresses), min(ttls, default=0)


def _text(name: bytes) -> str:
    """Without the trailing dot; bytes that are no ASCII are escaped."""
    return name.decode("ascii", "backslashreplace").removesuffix(".")


__all__ = ["dissect"]
