# SPDX-License-Identifier: MIT
"""Lines of policy for people to paste.

Names come from whoever answers or asks, so a line is offered only for a place that is made
of nothing but the characters of a name or an address: a pasted line never says more than
it shows.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from leakstop.detect.detector import Context
from leakstop.model.flow import Flow, Transport

_DEFAULT_PORT = 443
"""What a destination without a port means: TCP 443."""
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]*(?::[A-Za-z0-9./_-]+)*")
"""Text that YAML reads as itself wherever it stands."""


def destination_rule(flow: Flow, place: str) -> str:
    """Write the destination that names exactly ``flow``; empty if the policy has no word for it."""
    address = _is_address(place)
    if not address and not _NAME.fullmatch(place):
        return ""
    host = f"[{place}]" if ":" in place else place
    if flow.transport is Transport.TCP:
        # A name of one label needs its port: a bare word is a preset.
        bare = flow.port == _DEFAULT_PORT and ("." in place or address)
        return place if bare else f"{host}:{flow.port}"
    if flow.transport is Transport.UDP:
        return f"udp://{host}:{flow.port}"
    if flow.transport is Transport.DNS:
        return place if "." in place else f"dns://{place}"
    return f"icmp://{host}" if flow.transport is Transport.ICMP else ""


def home_line(secret: str, context: Context) -> str:
    """Write the ``secrets:`` entry that adds this destination to the homes of ``secret``."""
    new = destination_rule(context.flow, context.place)
    if not new:
        return ""
    home = context.policy.homes.get(secret)
    known = home.text if home is not None and not home.nowhere else ()
    homes = [_scalar(text) for text in (*known, new)]
    value = homes[0] if len(homes) == 1 else f"[{', '.join(homes)}]"
    return f"secrets: {{{secret}: {value}}}"


def rotate(secret: str, context: Context) -> str:
    """Say how to make ``secret`` worthless, as the end of a sentence."""
    view = context.secrets.get(secret)
    if view is not None and view.short_lived:
        return f"{secret} expires with this job"
    page = f" ({view.revoke})" if view is not None and view.revoke else ""
    return f"rotate {secret}{page}"


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def _is_address(place: str) -> bool:
    try:
        ip_address(place)
    except ValueError:
        return False
    return True


__all__ = ["destination_rule", "home_line", "rotate"]
