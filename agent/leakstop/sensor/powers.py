# SPDX-License-Identifier: MIT
"""What a container reaches of the machine, read from its engine's own description of it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_FREE = frozenset(
    {"ALL", "BPF", "DAC_READ_SEARCH", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_BOOT"}
    | {"SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME", "SYSLOG"}
)
"""Capabilities by which a process gets out, or at others (capabilities(7)); by default a container
has none of them."""
_SHARED = {
    "NetworkMode": "the host's network",
    "PidMode": "the host's processes",
    "IpcMode": "the host's memory",
    "UsernsMode": "the host's users",
}
_SEEN = frozenset({"/", "/etc", "/proc", "/root", "/run", "/var", "/var/run"})
"""Mounted, they are a way to the rest of the machine, or to its secrets."""
_SOCKETS = frozenset(
    {"/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock"}
)
_WRITTEN = frozenset({"/boot", "/dev", "/lib", "/sys", "/usr"})
"""They are if they may be written to."""


def powers_of(described: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Image and powers of a container, from ``GET /containers/ID/json``."""
    config, host = described.get("Config"), described.get("HostConfig")
    image = config.get("Image") if isinstance(config, dict) else None
    powers = _powers(host, described.get("Mounts")) if isinstance(host, dict) else ()
    return image if isinstance(image, str) else "", tuple(dict.fromkeys(powers))


def _powers(host: dict[str, Any], mounts: Any) -> Iterator[str]:
    privileged = host.get("Privileged") is True
    if privileged:
        yield "privileged"
    for key, power in _SHARED.items():
        if host.get(key) == "host" and not (privileged and key == "UsernsMode"):
            yield power
    for added in _items(host.get("CapAdd"), str):
        name = added.upper().removeprefix("CAP_")
        if name in _FREE:
            yield f"CAP_{name}"
    for device in _items(host.get("Devices"), dict):
        yield f"the host's {device.get('PathOnHost')}"
    for mount in _items(mounts, dict):
        source = posixpath.normpath("/" + str(mount.get("Source")).lstrip("/"))
        if mount.get("Type") == "bind" and _is_way_out(source, writable=mount.get("RW") is True):
            yield f"the host's {source}"


def _is_way_out(source: str, *, writable: bool) -> bool:
    """Links are not followed: a file system of the job's would keep the agent waiting."""
    return (
        source in _SEEN
        or source in _SOCKETS
        or source.startswith(("/proc/", "/dev/"))
        or (writable and source in _WRITTEN)
    )


def _items(listed: Any, kind: type[T]) -> Iterator[T]:
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, kind):
            yield item


__all__ = ["powers_of"]
