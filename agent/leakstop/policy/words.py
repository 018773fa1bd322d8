# SPDX-License-Identifier: MIT
"""Did you mean: from what people type to what they meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

SYNONYMS: Mapping[str, str] = {
    # Other tools' words for ours.
    "allowed-endpoints": "allow",
    "allowed-hosts": "allow",
    "allowlist": "allow",
    "block": "deny",
    "blocklist": "deny",
    "disable-sudo": "lockdown",
    "disable-sudo-and-containers": "lockdown",
    "egress-policy": "mode",
    "exceptions": "for",
    "include": "extends",
    "includes": "extends",
    "tests": "expect",
    "domain": "host",
    "hostname": "host",
    "address": "ip",
    "cidr": "ip",
    "network": "ip",
    "proto": "protocol",
    "reason": "why",
    "comment": "why",
    "silent": "quiet",
}
"""Keys."""

VALUE_SYNONYMS: Mapping[str, Mapping[str, str]] = {
    "mode": {
        "deny": "block",
        "enforce": "block",
        "enforcing": "block",
        "strict": "block",
        "log": "audit",
        "monitor": "audit",
        "observe": "audit",
        "permissive": "audit",
        "warn": "audit",
    },
    "leak": {"block": "kill", "deny": "kill", "stop": "kill", "audit": "warn", "log": "warn"},
    "fail-on": {"info": "low", "error": "high", "warning": "medium"},
    "on-unsupported": {"error": "fail", "ignore": "audit", "warn": "audit"},
    "lockdown": {"root": "sudo", "sudoers": "sudo", "containers": "docker"},
    "protocol": {"https": "tls", "ssl": "tls", "ping": "icmp", "ssh": "tcp", "quic": "udp"},
    "quiet": {"yes": "true", "on": "true", "no": "false", "off": "false"},
}
"""Values of keys with a fixed choice."""

PRESET_SYNONYMS: Mapping[str, str] = {
    "actions": "github",
    "apt": "debian",
    "imds": "metadata",
    "npm": "node",
    "pip": "python",
    "ubuntu": "debian",
}
"""Bare words."""

WELL_KNOWN_PORTS: Mapping[str, int] = {
    "elasticsearch": 9200,
    "kafka": 9092,
    "mariadb": 3306,
    "memcached": 11211,
    "minio": 9000,
    "mongo": 27017,
    "mongodb": 27017,
    "mysql": 3306,
    "postgres": 5432,
    "postgresql": 5432,
    "rabbitmq": 5672,
    "redis": 6379,
}
"""What a one-label host of this name most likely listens on."""


def did_you_mean(
    word: str, choices: Collection[str], synonyms: Mapping[str, str] | None = None
) -> str:
    """The choice that was most likely meant, or empty text."""
    typed = word.lower().replace("_", "-")
    if typed in choices:
        return typed
    meant = (SYNONYMS if synonyms is None else synonyms).get(typed, "")
    if meant in choices:
        return meant
    close = get_close_matches(typed, choices, n=1, cutoff=0.7)
    return close[0] if close else ""
