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
from leakstop.model.flow import Flow, Stream, Transport, Who
from leakstop.policy.destination import MANAGERS
from leakstop.policy.explain import describe_owner
from leakstop.policy.match import ACCEPTS, for_others
from leakstop.policy.rules import Protocol
from leakstop.policy.scopes import EVERYBODY, Scope, written

PING = (
    "A ping works without a raw socket where everybody may ping (sysctl "
    "net.ipv4.ping_group_range); a rule for icmp:// and its host then allows it."
)
"""What to say to those who wanted to ping."""

_SOMEBODY = Who()
_DEFAULT_PORT = 443
"""What a destination without a port means: TCP 443."""
_SPOKEN = {443: Protocol.TLS, 80: Protocol.HTTP}
"""What a destination without a scheme asks for on its port; on all others anything."""
_SCHEMES = {Stream.TLS: "https", Stream.HTTP: "http"}
"""What asks for it on any port."""
_DAEMONS = frozenset({"dockerd", "buildkitd"})
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
        scheme = "" if address else _scheme(flow)
        # A name of one label needs its port: a bare word is a preset.
        bare = flow.port == _DEFAULT_PORT and ("." in place or address) and not scheme
        return place if bare else f"{scheme}{host}:{flow.port}"
    if flow.transport is Transport.UDP:
        return f"udp://{host}:{flow.port}"
    if flow.transport is Transport.DNS:
        return place if "." in place else f"dns://{place}"
    return f"icmp://{host}" if flow.transport is Transport.ICMP else ""


def scoped_rule(rule: str, scope: Scope) -> str:
    """Write the destination or word ``rule`` as one for ``scope`` alone."""
    parts = list(written(scope))
    if not parts:
        return rule
    kind, _, name = rule.partition(":")
    if kind not in MANAGERS:
        kind, name = _kind(rule), rule
    return f"{{{', '.join((f'{kind}: {_scalar(name)}', *parts))}}}"


def _kind(rule: str) -> str:
    """The key that says where, for a text that says it without one."""
    if "." not in rule and ":" not in rule:
        return "preset"
    host = rule.rpartition("://")[2].partition("]")[0].lstrip("[")
    return "ip" if _is_address(host) or _is_address(host.rpartition(":")[0]) else "host"


def docker_of(exe: str, who: Who = _SOMEBODY) -> Scope:
    """The scope of Docker's daemon or of a builder, if it is one; else that of everybody.

    What they send belongs to no step, whatever asked for it.
    """
    if any("buildkit" in name for name in who.container or ()):
        return Scope(container=("*buildkit*",))
    if exe.rpartition("/")[2] in _DAEMONS and _PLAIN.fullmatch(exe.lstrip("/")):
        return Scope(process=(exe,))
    return EVERYBODY


def _scheme(flow: Flow) -> str:
    """The scheme that a rule for a name needs, so that it accepts what the stream shows."""
    if flow.stream is Stream.UNSEEN:
        return ""
    protocol = _SPOKEN.get(flow.port, Protocol.STREAM)
    if protocol in ACCEPTS[flow.stream] and (flow.shown or protocol is Protocol.STREAM):
        return ""
    return f"{_SCHEMES.get(flow.stream, 'tcp') if flow.shown else 'tcp'}://"


def home_line(secret: str, context: Context) -> str:
    """Write the ``secrets:`` entry that adds this destination to the homes of ``secret``."""
    new = destination_rule(context.flow, context.place)
    if not new:
        return ""
    home = context.policy.homes.get(secret)
    known = home.text if home is not None and not home.nowhere else ()
    homes = [_scalar(text) for text in (*known, new)]
    value = homes[0] if len(homes) == 1 else f"[{', '.join(homes)}]"
    scope = list(written(home.rules[0].scope)) if home is not None and home.rules else []
    if scope:
        value = f"{{{', '.join((f'to: {value}', *scope))}}}"
    return f"secrets: {{{secret}: {value}}}"


def after_leak(secret: str, context: Context) -> str:
    """Say what to do about a secret that was on its way to a wrong place."""
    view = context.secrets.get(secret)
    if view is not None and view.canary:
        return (
            f"Do not re-run. {secret} is a canary that Leakstop planted: it opens nothing, and "
            "only who collects credentials sends it. Revert the change that brought this step, and "
            "rotate every secret that the job could read."
        )
    line = home_line(secret, context)
    mine = f" If it was you, say that this is its home: `{line}`." if line else ""
    home = context.policy.homes.get(secret)
    others = for_others(home.rules, context.flow) if home is not None else None
    if others is not None:
        mine = f" It belongs there for {describe_owner(others)} alone."
    return (
        "Do not re-run. If you do not know this step, somebody else wrote it: "
        f"revert the change that brought it; {rotate(secret, context)}.{mine}"
    )


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


__all__ = [
    "PING",
    "after_leak",
    "destination_rule",
    "docker_of",
    "home_line",
    "rotate",
    "scoped_rule",
]
