# SPDX-License-Identifier: MIT
"""Plants canaries for a job, and takes them away again.

As the user whose home it is. A file that exists is left alone, whatever is in it: a tool may
depend on it, and a thief finds the other canaries.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets as randomness
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakstop.cli.confined import Identity, confined
from leakstop.secrets.canaries import VARIABLES, Canary, make
from leakstop.secrets.inventory import Secret

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Planted:
    """What a job is given, to be watched and to be removed."""

    secrets: tuple[Secret, ...] = ()
    environment: Mapping[str, str] | None = None
    """The variable, with its name."""
    files: Mapping[str, str] | None = None
    """What was written, by path; a directory that was made ends with a slash."""

    def to_text(self) -> str:
        """What ``remove`` needs, as one line."""
        return json.dumps(self.files or {})


def plant(user: Identity, taken: Collection[str]) -> Planted:
    """Plant all for which there is a free place; ``taken`` are names of variables."""
    canaries = make(randomness.randbelow)
    texts = {canary.place: canary.text for canary in canaries if canary.place}
    home = user.home or os.path.expanduser("~")  # noqa: PTH111 - only $HOME, as tools read it
    files: dict[str, str] = confined(user, _nothing, lambda _: _write(Path(home), texts), _nobody)
    free = next((name for name in VARIABLES if name not in taken), "")
    places = {*(str(Path(path).relative_to(home)) for path in files), *([""] if free else [])}
    kept = [canary for canary in canaries if canary.place in places]
    variable = next((canary.text for canary in kept if not canary.place), "")
    return Planted(
        tuple(secret for canary in kept for secret in canary.secrets),
        {free: variable} if variable else {},
        files,
    )


def remove(user: Identity, text: str) -> None:
    """Remove what ``text`` of ``Planted.to_text`` says, as far as it is still there."""
    files = _files(text)
    if files:
        confined(user, _nothing, lambda _: _unplant(files), _nobody)


def _files(text: str) -> dict[str, str]:
    with contextlib.suppress(ValueError):
        found = json.loads(text or "{}")
        if isinstance(found, dict):
            return {str(path): str(content) for path, content in found.items()}
    return {}


def _write(home: Path, texts: Mapping[str, str]) -> dict[str, str]:
    written = {}
    for place, text in texts.items():
        path = home / place
        with contextlib.suppress(OSError):
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700)
                written[f"{path.parent}/"] = ""
            descriptor = os.open(path, _FLAGS, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                file.write(text)
            written[str(path)] = text
    return written


def _unplant(files: Mapping[str, str]) -> None:
    """What a tool has added to a file stays, without our part."""
    for name, text in reversed([*files.items()]):
        path = Path(name)
        with contextlib.suppress(OSError, ValueError):
            if name.endswith("/"):
                path.rmdir()  # only if it is empty
                continue
            now = path.read_text("utf-8")
            if now == text:
                path.unlink()
            elif text in now and not path.is_symlink():
                path.write_text(now.replace(text, "", 1), "utf-8")


def _nothing() -> None:
    """Nothing has to be imported."""


def _nobody(_: Any) -> None:
    """Nobody is asked."""


__all__ = ["Canary", "Planted", "plant", "remove"]
