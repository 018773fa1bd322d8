# SPDX-License-Identifier: MIT
"""What becomes of a secret on its way somewhere: one table, the same as in the kernel.

A secret is *placed* when the policy, the input or its format says where it belongs.

========  =======================================  ======  ======
Secret    Going to                                 audit   block
========  =======================================  ======  ======
any       in the text of a DNS question            kill    kill
any       this machine, or its home                none    none
placed    anywhere else                            kill    kill
unplaced  a place where no secret belongs          kill    kill
unplaced  a host that a rule names                 note    kill
guessed   a host that a rule names                 note    note
unplaced  any other host                           warn    kill
========  =======================================  ======  ======

A secret is *guessed* when nobody declared it and nobody placed it: it was found, and is unplaced
in every other line. To refuse a host that a rule names, somebody has to have called it a secret.

No secret belongs at a bare public address, in plain HTTP, or at a public sink. A question is
read by every resolver on its way, so a name with the secret in it is nobody's home. With
``leak: fail`` or ``leak: warn`` nothing is refused because of a secret: ``kill`` becomes
``fail``.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Carriage, Leak, Mode

PRIVATE_NETWORKS: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Addresses that no stranger on the internet can have; every other one is public.

The same list as ``is_public`` in ``bpf/verdict.bpf.h``. Not ``ipaddress.is_global``: its answer
changes between Python versions, and it takes the documentation networks out, which labs use
as the internet."""

HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Destination:
    """What the judgement has to know of a destination."""

    local: bool = False
    """This machine or its containers: not egress."""
    at_home: bool = False
    """A home of this secret covers it. For a DNS question (whose port is not known yet): a
    home covers the name on some port."""
    named: bool = False
    """An ``allow`` rule covers it."""
    sink: bool = False
    """Anyone can store data there."""
    bare: bool = False
    """A public address to which no name led and that no rule of any kind names."""
    plain_http: bool = False
    """TCP port 80: readable on the way."""
    dns_label: bool = False
    """The secret is inside the name that is asked for."""

    @classmethod
    def of(
        cls,
        flow: Flow,
        *,
        local: bool = False,
        at_home: bool = False,
        named: bool = False,
        sink: bool = False,
        address_named: bool = False,
        dns_label: bool = False,
    ) -> Destination:
        """Describe where ``flow`` goes; what the policy says of it is the caller's to know.

        ``address_named``: a rule of any kind names the address, on this port or another.
        """
        question = flow.transport is Transport.DNS
        unexplained = not question and not flow.names and not address_named
        return cls(
            local=local and not question,
            at_home=at_home,
            named=named,
            sink=sink,
            bare=unexplained and not local and is_public(flow.ip),
            plain_http=flow.transport is Transport.TCP and flow.port == HTTP_PORT and not local,
            dns_label=question and dns_label,
        )

    @property
    def unfit(self) -> bool:
        """Nobody's secret belongs there."""
        return self.bare or self.plain_http or self.sink or self.dns_label


def judge(
    *, placed: bool, dest: Destination, mode: Mode, leak: Leak, guessed: bool = False
) -> Carriage:
    """Judge a process that has a secret on its command line and wants to reach ``dest``."""
    if not dest.dns_label and (dest.local or dest.at_home):
        return Carriage.NONE
    if not placed and not dest.unfit:
        if dest.named and (guessed or mode is Mode.AUDIT):
            return Carriage.NOTE
        if mode is Mode.AUDIT:
            return Carriage.WARN
    return Carriage.KILL if leak is Leak.KILL else Carriage.FAIL


def is_public(ip: str) -> bool:
    """Whether a stranger can have the address. One that cannot be read is public."""
    try:
        address = ip_address(ip)
    except ValueError:
        return True
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return not any(address in network for network in PRIVATE_NETWORKS)
