# SPDX-License-Identifier: MIT
"""The words of the language, and the release that brings those which are only reserved."""

from __future__ import annotations

from collections.abc import Mapping

TOP = (
    "version",
    "extends",
    "mode",
    "allow",
    "deny",
    "secrets",
    "leak",
    "fail-on",
    "on-unsupported",
    "lockdown",
    "expect",
)
"""Keys of a policy."""

KINDS = ("host", "ip", "registry", "publish", "preset")
"""Keys of a rule that say where; a rule has exactly one."""

SCOPE = ("step", "process", "container")
"""Keys that say whom something is for."""

RULE = (*KINDS, "ports", "protocol", *SCOPE, "names", "quiet", "why")
"""Keys of a rule."""

CASE = ("allow", "deny", "leak", "to", *SCOPE)
"""Keys of an ``expect`` case."""

HOME = ("to", *SCOPE)
"""Keys of a secret's home written as a map."""

RESERVED: Mapping[str, str] = {
    "canaries": "0.3",
    "http": "0.4",
    "ceiling": "0.5",
    "for": "0.5",
    "job": "0.5",
    "owner": "0.5",
    "repo": "0.5",
    "until": "0.5",
    "workflow": "0.5",
}
"""Words of later releases: refused with the release that brings them, never half-obeyed."""

RESERVED_TOP = ("canaries", "ceiling", "for")
RESERVED_RULE = ("http", "owner", "until")
RESERVED_CASE = ("job", "repo", "workflow")

CHOICES: Mapping[str, tuple[str, ...]] = {
    "mode": ("audit", "block"),
    "leak": ("kill", "fail", "warn"),
    "fail-on": ("low", "medium", "high", "critical"),
    "on-unsupported": ("fail", "audit"),
    "lockdown": ("sudo", "docker"),
    "protocol": ("tls", "http", "tcp", "udp", "dns", "icmp"),
    "quiet": ("true", "false"),
}
"""Values of the keys that have a fixed choice."""

ALL_KEYS = frozenset({*TOP, *RULE, *CASE, *HOME, *RESERVED})
