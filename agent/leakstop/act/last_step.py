# SPDX-License-Identifier: MIT
"""What the job's last step runs, and where the runner keeps it: that the job must not exchange.

The runner has downloaded actions to ``_work/_actions`` and its own node in ``externals``, both
its user's, who is the job's. Under act, and from a plain checkout, they lie elsewhere, and are
the developer's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ACTIONS, _EXTERNALS = "_actions", "externals"


def of_hook(hook: Path, node: Path) -> tuple[tuple[Path, Path], ...]:
    """The action around ``hook`` (``agent/hook`` in it) and ``node``, as far as they are the
    runner's; each with the last directory above it in which nobody but the runner moves anything.
    """
    return (*_below(_ACTIONS, hook.parents[1]), *_below(_EXTERNALS, node))


def _below(name: str, path: Path) -> Iterator[tuple[Path, Path]]:
    """``path`` with the nearest directory above it that is called ``name``, if there is one."""
    for parent in path.parents:
        if parent.name == name:
            yield path, parent
            return


__all__ = ["of_hook"]
