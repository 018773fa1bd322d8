# SPDX-License-Identifier: MIT
"""One grammar for a destination, wherever a policy names one: ``[scheme://]place[:port]``.

Or a word that stands for destinations: a preset (``github``), ``registry:pip``,
``publish:npm``. What cannot be read is refused with its cure, other tools' spellings too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Union

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.place import DestinationError, parse_place
from leakstop.policy.ports import ALL_PORTS, one_port
from leakstop.policy.rules import (
    REACHES,
    AddressPlace,
    NamePlace,
    Place,
    PortRange,
    Protocol,
    Reach,
    Rule,
)
from leakstop.policy.scopes import EVERYBODY, Scope
from leakstop.policy.words import PRESET_SYNONYMS, WELL_KNOWN_PORTS, did_you_mean
from leakstop.policy.zones import REGISTRIES

MANAGERS = {"registry": ("pip", "npm", "apt"), "publish": ("pip", "npm")}
"""What may follow ``registry:`` and ``publish:``."""

SCHEMES = {
    "https": Protocol.TLS,
    "http": Protocol.HTTP,
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "dns": Protocol.DNS,
    "icmp": Protocol.ICMP,
}
"""What may stand before ``://``."""

_HTTPS = (PortRange(443, 443),)
_HTTP = (PortRange(80, 80),)
_PORTLESS = {Protocol.DNS: "a question has no port", Protocol.ICMP: "ICMP has no ports"}
# A plain host or pattern in lower case, with or without a port: nearly every line of a long
# policy.
_PLAIN = re.compile(
    r"(\*\*?\.)?"
    r"((?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    r"(?::([1-9][0-9]{0,4}))?"
)
# The same of addresses.
_PLAIN_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}|[0-9a-f]*:[0-9a-f:]*:[0-9a-f]*")
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_PATH = re.compile(r"[/?#]")


@dataclass(frozen=True, slots=True)
class Reference:
    """A word that stands for destinations, to be looked up when files are merged."""

    kind: str
    """``preset``, ``registry`` or ``publish``."""
    name: str
    action: Action
    ref: RuleRef
    quiet: bool = False
    why: str = ""
    scope: Scope = EVERYBODY

    @property
    def word(self) -> str:
        """As it is written: ``github``, ``registry:pip``."""
        return self.name if self.kind == "preset" else f"{self.kind}:{self.name}"


Entry = Union[Rule, Reference]
"""What a line of a policy comes to."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What only a map can say of a destination."""

    protocol: Protocol | None = None
    ports: tuple[PortRange, ...] = ()
    """Empty: not written."""
    quiet: bool = False
    why: str = ""
    names: int = 0
    """How many of the names that it covers may be asked for; 0 is not written."""
    scope: Scope = EVERYBODY


PLAIN = Extras()
"""Of a destination that is written as text."""


def parse(
    text: str,
    action: Action,
    ref: RuleRef,
    *,
    presets: Collection[str] = (),
    extras: Extras = PLAIN,
    words: bool = True,
) -> tuple[Entry, ...]:
    """Read one destination or word.

    ``action`` decides what a missing port means: an ``allow`` or a home opens TCP 443, a
    ``deny`` closes everything, for whoever reads "deny: x" expects no less. Without
    ``words`` only a destination will do.

    Raises:
        DestinationError: the text is neither a destination nor a known word.
    """
    plain = _PLAIN.fullmatch(text)
    if plain is not None and len(plain[2]) <= 253 and not (plain[1] and plain[2] in REGISTRIES):
        places: tuple[Place, ...] = (NamePlace(plain[2], REACHES[plain[1]]),)
        ports = one_port(plain[3]) if plain[3] else ()
        return expand(places, None, ports, action, ref, extras, text)
    if _PLAIN_ADDRESS.fullmatch(text):
        return expand(parse_place(text), None, (), action, ref, extras, text)
    word = _word(text, action, ref, presets, extras) if words else None
    if word is not None:
        return (word,)
    scheme, rest = _scheme(text)
    host, port = _port(rest, text)
    places = parse_place(host)
    ports = _port_range(port, text, host) if port is not None else ()
    _check_one_label(places, text, needs_port=not (scheme or ports or extras.ports))
    return expand(places, scheme, ports, action, ref, extras, text)


def reference(
    kind: str,
    name: str,
    action: Action,
    ref: RuleRef,
    *,
    presets: Collection[str],
    extras: Extras = PLAIN,
) -> Reference:
    """Build a reference to a preset or a package manager, if it is a known one.

    Raises:
        DestinationError: it is not, or it was given ports of its own.
    """
    known: Collection[str] = presets if kind == "preset" else MANAGERS[kind]
    if name not in known:
        meant = did_you_mean(name, known, PRESET_SYNONYMS if kind == "preset" else {})
        written = name if kind == "preset" else f"{kind}:{name}"
        noun = "presets" if kind == "preset" else "managers"
        hint = f"did you mean `{meant}`? " if meant else ""
        listed = ", ".join(sorted(known) if kind == "preset" else known)
        raise DestinationError(f"`{written}` is not known", fix=f"{hint}{noun}: {listed}")
    if extras.ports or extras.protocol:
        raise DestinationError(
            f"`{name}` brings its own ports", fix="leave out `ports` and `protocol`"
        )
    if extras.names:
        raise DestinationError(
            f"`names` rations the names of a pattern, and `{name}` brings its own hosts",
            fix="write it into a rule for `*.x` or for numbered names",
        )
    return Reference(kind, name, action, ref, extras.quiet, extras.why, extras.scope)


def expand(
    places: Sequence[Place],
    scheme: Protocol | None,
    ports: tuple[PortRange, ...],
    action: Action,
    ref: RuleRef,
    extras: Extras,
    text: str,
) -> tuple[Rule, ...]:
    """Make the rules of one destination: one for each place and protocol."""
    if scheme and extras.protocol:
        raise DestinationError(
            f"`{text}` and `protocol` both say the protocol", fix="write it in one place"
        )
    if ports and extras.ports:
        raise DestinationError(
            f"`{text}` and `ports` both say the port", fix="write all ports into `ports`"
        )
    channels = _channels(scheme or extras.protocol, ports or extras.ports, action, text)
    if channels[0][0] is Protocol.DNS and isinstance(places[0], AddressPlace):
        raise DestinationError(
            "`dns` is about a name that may be looked up, not about an address",
            fix=f"to believe this resolver write `udp://{places[0]}:53`",
        )
    quiet, why, names, scope = extras.quiet, extras.why, extras.names, extras.scope
    if names and not _is_pattern(places):
        raise DestinationError(
            f"`names` rations the names of a pattern, and `{text}` is none",
            fix="write it into a rule for `*.x` or for numbered names; one name costs nothing",
        )
    return tuple(
        [
            Rule(action, place, protocol, channel, ref, quiet, why, names, scope)
            for place in places
            for protocol, channel in channels
        ]
    )


def _is_pattern(places: Sequence[Place]) -> bool:
    """Whether many names may be meant: those below a wildcard, or numbered ones."""
    first = places[0]
    return isinstance(first, NamePlace) and (first.reach is not Reach.EXACT or len(places) > 1)


def _channels(
    protocol: Protocol | None, ports: tuple[PortRange, ...], action: Action, text: str
) -> list[tuple[Protocol, tuple[PortRange, ...]]]:
    """The protocols and ports that are meant."""
    deny = action is Action.DENY
    if protocol is None:
        if not ports:
            return [(Protocol.ANY, ())] if deny else [(Protocol.TLS, _HTTPS)]
        if deny:  # A port is closed whatever is spoken on it.
            return [(Protocol.TCP, ports), (Protocol.UDP, ports)]
        return _by_port(ports)
    if protocol in _PORTLESS:
        if ports:
            raise DestinationError(f"`{text}`: {_PORTLESS[protocol]}", fix="leave out the port")
        return [(protocol, ())]
    if ports:
        return [(protocol, ports)]
    if protocol is Protocol.TLS:
        return [(protocol, _HTTPS)]
    if protocol is Protocol.HTTP:
        return [(protocol, _HTTP)]
    if deny:
        return [(protocol, (ALL_PORTS,))]
    bare = text.partition("://")[2] or text
    raise DestinationError(
        f"`{text}` needs its port",
        fix=f"for example `{protocol.value}://{bare}:{53 if protocol is Protocol.UDP else 22}`",
    )


@lru_cache(maxsize=1024)
def _by_port(ports: tuple[PortRange, ...]) -> list[tuple[Protocol, tuple[PortRange, ...]]]:
    found: dict[Protocol, tuple[PortRange, ...]] = {}
    for each in ports:
        defaults = {_HTTPS[0]: Protocol.TLS, _HTTP[0]: Protocol.HTTP}
        protocol = defaults.get(each, Protocol.STREAM)
        found[protocol] = (*found.get(protocol, ()), each)
    return list(found.items())


def _word(
    text: str, action: Action, ref: RuleRef, presets: Collection[str], extras: Extras
) -> Reference | None:
    kind, colon, name = text.partition(":")
    if colon and kind in MANAGERS and not name.startswith("//"):
        return reference(kind, name, action, ref, presets=presets, extras=extras)
    if not _WORD.fullmatch(text) or extras.ports or extras.protocol:
        return None
    if text in presets:
        return reference("preset", text, action, ref, presets=presets, extras=extras)
    if text == "nowhere":
        raise DestinationError(
            "`nowhere` is a home for a secret, not a destination",
            fix="it stands alone under `secrets:`",
        )
    if text.isdigit():
        raise DestinationError(
            f"`{text}` is a port without a host: a comma begins a new item",
            fix="several ports: `{host: a.example.test, ports: [443, 8443]}`",
        )
    raise _not_a_word(text, presets)


def _not_a_word(text: str, presets: Collection[str]) -> DestinationError:
    meant = did_you_mean(text, presets, PRESET_SYNONYMS)
    port = WELL_KNOWN_PORTS.get(text.lower(), 8080)
    names = ", ".join(sorted(set(presets) - {"runner", "metadata", "public-sinks"}))
    if meant and text not in WELL_KNOWN_PORTS:
        fix = f"did you mean `{meant}`?"
    else:
        fix = f"a host of one label needs its port (`{text}:{port}`); presets: {names}, …"
    return DestinationError(f"`{text}` is neither a preset nor a destination", fix=fix)


def _scheme(text: str) -> tuple[Protocol | None, str]:
    """Split off the scheme, and refuse what is no part of a destination."""
    head, separator, rest = text.partition("://")
    if not separator:
        head, rest = "", text
    elif head.lower() not in SCHEMES:
        meant = did_you_mean(head, SCHEMES, {"ssh": "tcp", "wss": "https", "ws": "http"})
        raise DestinationError(
            f"`{head}://` is not known",
            fix=(f"did you mean `{meant}://`? " if meant else "") + ", ".join(SCHEMES),
        )
    if "${{" in text:
        raise DestinationError(
            "`${{ … }}` is not expanded in a policy: it is the same text for everyone",
            fix="use the action's input `allow` for values of a run",
        )
    if re.search(r"\s", rest):
        raise DestinationError(
            f"`{text}` has white space in it", fix="one destination a line, or `allow: |`"
        )
    if rest.endswith(","):
        raise DestinationError(f"`{text}` ends with a comma", fix=f"write `{text.rstrip(',')}`")
    if "%" in rest:
        raise DestinationError(f"`{text}` has a zone", fix=f"write `{rest.partition('%')[0]}`")
    if "@" in rest:
        raise DestinationError(
            "a user is not part of a destination", fix=f"write `{rest.rpartition('@')[2]}`"
        )
    _check_path(text, head, rest)
    return SCHEMES.get(head.lower()), rest


def _check_path(text: str, head: str, rest: str) -> None:
    match = _PATH.search(rest)
    if match is None or re.match(r"[0-9a-fA-F.:]+/[0-9.]+(?::|$)|\[", rest):
        return
    host, path = rest[: match.start()], rest[match.start() :]
    if path in ("/tcp", "/udp"):
        raise DestinationError(
            f"`{text}`: the protocol stands in front", fix=f"write `{path[1:]}://{host}`"
        )
    bare = host if head in ("", "https") else f"{head}://{host}"
    if path == "/":
        raise DestinationError(f"`{text}` ends with a slash", fix=f"write `{bare}`")
    raise DestinationError(
        "a path is not part of a destination",
        fix=f"write `{bare}`; paths go into `http: [GET {path}]` (leakstop ≥ 0.4)",
    )


def _port(rest: str, text: str) -> tuple[str, str | None]:
    """Split ``place`` from ``port``; IPv6 addresses with a port stand in brackets."""
    if rest.startswith("["):
        inside, bracket, after = rest[1:].partition("]")
        if not bracket or (after and not after.startswith(":")) or ":" not in inside:
            cure = '"[2001:db8::1]:443"' if ":" in inside else f"{inside}{after}"
            raise DestinationError(
                f"`{text}`: brackets hold one IPv6 address or network", fix=f"write `{cure}`"
            )
        return inside, after[1:] if after else None
    if rest.count(":") > 1 and re.fullmatch(r"[0-9a-fA-F:.]+(?:/[0-9]+)?", rest):
        return rest, None
    host, colon, port = rest.partition(":")
    return host, port if colon else None


def _port_range(port: str, text: str, host: str) -> tuple[PortRange, ...]:
    several = re.split(r"[,;|]|:", port)
    if len(several) > 1 and all(re.fullmatch(r"[0-9-]*", part) for part in several):
        ports = ", ".join(part for part in several if part)
        raise DestinationError(
            f"`{text}`: a text takes one port or range",
            fix=f"write `{{host: {host}, ports: [{ports}]}}`",
        )
    if host in ("host", "ip", "preset") and port:
        raise DestinationError(
            f"`{text}` has no space after its colon", fix=f"write `{host}: {port}`"
        )
    if not port:
        raise DestinationError(f"`{text}` ends with a colon", fix=f"write `{host}`")
    return one_port(port)


def _check_one_label(places: Sequence[Place], text: str, *, needs_port: bool) -> None:
    place = places[0]
    if needs_port and isinstance(place, NamePlace) and "." not in str(place):
        port = WELL_KNOWN_PORTS.get(place.name, 8080)
        raise DestinationError(
            f"`{text}`: a host of one label needs its port", fix=f"write `{place.name}:{port}`"
        )


__all__ = [
    "MANAGERS",
    "PLAIN",
    "SCHEMES",
    "DestinationError",
    "Entry",
    "Extras",
    "Reference",
    "expand",
    "parse",
    "reference",
]
