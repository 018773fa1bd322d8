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
    "expect",
)
"""Keys of a policy."""

KINDS = ("host", "ip", "registry", "publish", "preset")
"""Keys of a rule that say where; a rule has exactly one."""

RULE = (*KINDS, "ports", "protocol", "names", "quiet", "why")
"""Keys of a rule."""

CASE = ("allow", "deny", "leak", "to")
"""Keys of an ``expect`` case."""

HOME = ("to",)
"""Keys of a secret's home written as a map."""

RESERVED: Mapping[str, str] = {
    "container": "0.2",
    "lockdown": "0.2",
    "process": "0.2",
    "step": "0.2",
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

RESERVED_TOP = ("canaries", "ceiling", "for", "lockdown")
RESERVED_RULE = ("container", "http", "owner", "process", "step", "until")
RESERVED_CASE = ("container", "job", "process", "repo", "step", "workflow")
RESERVED_HOME = ("process", "step")

CHOICES: Mapping[str, tuple[str, ...]] = {
    "mode": ("audit", "block"),
    "leak": ("kill", "fail", "warn"),
    "fail-on": ("low", "medium", "high", "critical"),
    "on-unsupported": ("fail", "audit"),
    "protocol": ("tls", "http", "tcp", "udp", "dns", "icmp"),
    "quiet": ("true", "false"),
}
"""Values of the keys that have a fixed choice."""

ALL_KEYS = frozenset({*TOP, *RULE, *CASE, *HOME, *RESERVED})
