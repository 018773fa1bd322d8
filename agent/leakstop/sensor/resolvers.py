# SPDX-License-Identifier: MIT
"""Whose DNS answers are believed: the resolvers this machine was set up with at the start."""

from __future__ import annotations

import subprocess
from ipaddress import IPv6Address, ip_address
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")
RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")
"""systemd-resolved's list of the servers behind its stub."""

_RESOLVED = ("127.0.0.53", "127.0.0.54")
"""systemd-resolved's two stubs (systemd-resolved.service(8))."""
_STUBS = frozenset({*_RESOLVED, "127.0.0.11"})
"""Those, and Docker's embedded resolver."""
_LIMIT = 3
"""MAXNS in <resolv.h>: glibc does not look at more, so neither is a fourth believed."""
_RESOLVECTL = (Path("/usr/bin/resolvectl"), Path("/bin/resolvectl"))
_FLUSH_TIMEOUT_S = 2


def trusted(resolv_conf: str, resolved_conf: str = "") -> tuple[str, ...]:
    """Addresses of the resolvers in use.

    Args:
        resolv_conf: text of ``/etc/resolv.conf``.
        resolved_conf: text of systemd-resolved's own list. It counts only when a stub is in
            use: the stub's answers come from there. Where it runs, both its stubs do, and
            either asks for any name on the job's behalf.
    """
    # No server at all means the local one (resolv.conf(5)).
    servers = _nameservers(resolv_conf)[:_LIMIT] or ("127.0.0.1",)
    behind = _nameservers(resolved_conf) if _STUBS.intersection(servers) else ()
    stubs = _RESOLVED if resolved_conf or set(_RESOLVED).intersection(servers) else ()
    return tuple(dict.fromkeys((*servers, *behind, *stubs)))


def read_trusted(resolv: Path = RESOLV_CONF, resolved: Path = RESOLVED_CONF) -> tuple[str, ...]:
    """``trusted`` of this machine's files; a file that cannot be read is empty."""
    return trusted(_text(resolv), _text(resolved))


def flush_caches() -> bool:
    """Empty systemd-resolved's cache, so that each name is asked for where it is seen.

    Returns whether that was done; ``False`` where systemd-resolved does not run.
    """
    program = next((path for path in _RESOLVECTL if path.exists()), None)
    if program is None or not RESOLVED_CONF.parent.is_dir():
        return False
    try:
        done = subprocess.run(
            [str(program), "flush-caches"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_FLUSH_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _nameservers(conf: str) -> tuple[str, ...]:
    servers = []
    for line in conf.splitlines():
        words = line.split()
        # glibc takes the keyword only at the start of a line, and the first word after it.
        if len(words) < 2 or not line.startswith("nameserver"):
            continue
        try:
            address = ip_address(words[1].partition("%")[0])
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        servers.append(str(mapped or address))
    return tuple(servers)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


__all__ = ["flush_caches", "read_trusted", "trusted"]
