# SPDX-License-Identifier: MIT
"""What an agent is asked to guard, as it travels from the unprivileged side to the root side.

One JSON object over a private pipe or socket. It holds secret values, so it is never an
argument and never a file of ours.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakstop.errors import UsageError
from leakstop.model.codec import from_json, to_json
from leakstop.model.report import Job
from leakstop.secrets.inventory import Secret


@dataclass(frozen=True, slots=True)
class ArmRequest:
    """A guard, fully described."""

    policy: bytes
    """Canonical JSON (policy/canonical.py)."""
    secrets: tuple[Secret, ...] = ()
    """Known secrets with their values."""
    job: Job = field(default_factory=Job)
    """Where this runs, for the report."""
    scope: str = "machine"
    """``command``, ``machine`` or ``cgroup``."""
    cgroup: str = ""
    """cgroup v2 directory to guard; empty for the whole hierarchy."""
    worker_pid: int = 0
    """The runner's worker: its children are steps, and the agent ends with it."""
    root_pid: int = 0
    """Portable sensor: watch only descendants of this process; 0 for all."""
    uplinks: bool = True
    """Put programs on the network interfaces of the agent's namespace."""
    finish_key: str = ""
    """If set, a peer that is not root must repeat it to re-arm or finish the guard."""
    hook: str = ""
    """Directory of the scripts by which the runner calls us, as it names them to node."""
    node: str = ""
    """The program that runs them."""
    uid: int = 0
    """The job's user, from whom ``lockdown`` takes rights."""
    variables: str = ""
    """The runner's file for variables of later steps (GITHUB_ENV) of the step that asks."""
    finisher: str = ""
    """A script that may end the guard when the worker runs it (``--finisher``)."""


def request_to_json(request: ArmRequest) -> dict[str, Any]:
    """Turn ``request`` into what ``json.dumps`` takes."""
    return {
        "policy": request.policy.decode(),
        "secrets": [secret_to_json(secret) for secret in request.secrets],
        "job": to_json(request.job),
        "settings": {name: getattr(request, name) for name in _SETTINGS},
    }


def request_from_json(document: Mapping[str, Any]) -> ArmRequest:
    """Read a request back.

    Raises:
        UsageError: the document is no request.
    """
    try:
        unknown = set(document) - {"policy", "secrets", "job", "settings"}
        settings = dict(document.get("settings", {}))
        unknown |= set(settings) - set(_SETTINGS)
        if unknown:
            raise ValueError(f"unknown field {min(unknown)!r}")
        for name, value in settings.items():
            from_json(_SETTINGS[name], value)
            if isinstance(value, int) and not 0 <= value <= _MOST.get(name, _PID_MAX):
                raise ValueError(f"{name} is out of range")
        return ArmRequest(
            policy=from_json(str, document["policy"]).encode(),
            secrets=tuple(secret_from_json(item) for item in document.get("secrets", ())),
            job=from_json(Job, document.get("job", {})),
            **settings,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            "the prepared document is not understood",
            why=f"missing {error}" if isinstance(error, KeyError) else str(error),
            fix="let `leakstop prepare` of the same version write it",
        ) from error


_PID_MAX = 1 << 22
"""PID_MAX_LIMIT of <linux/threads.h>."""
_MOST = {"uid": (1 << 32) - 2}
"""Of numbers that are no process."""

_SETTINGS: dict[str, type] = {
    "scope": str,
    "cgroup": str,
    "worker_pid": int,
    "root_pid": int,
    "uplinks": bool,
    "finish_key": str,
    "hook": str,
    "node": str,
    "uid": int,
    "variables": str,
    "finisher": str,
}


def secret_to_json(secret: Secret) -> dict[str, Any]:
    """Turn ``secret`` into what ``json.dumps`` takes."""
    value = base64.b64encode(secret.value).decode()
    return {
        "name": secret.name,
        "value": value,
        "home": list(secret.home),
        "source": secret.source,
    }


def secret_from_json(item: Mapping[str, Any]) -> Secret:
    """Read it back."""
    fields = dict(item)
    try:
        fields["value"] = base64.b64decode(fields["value"], validate=True)
    except binascii.Error as error:
        # Never quote the value.
        raise ValueError("a secret's value is not base64") from error
    return Secret(
        name=from_json(str, fields["name"]),
        value=fields["value"],
        home=from_json(tuple[str, ...], fields.get("home", [])),
        source=from_json(str, fields.get("source", "")),
    )


__all__ = [
    "ArmRequest",
    "request_from_json",
    "request_to_json",
    "secret_from_json",
    "secret_to_json",
]
