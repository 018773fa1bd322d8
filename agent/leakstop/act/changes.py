# SPDX-License-Identifier: MIT
"""What a guard changes on the machine besides the kernel, and how all of it is undone.

It is written down in the guard's run directory before it is made: who undoes it may be another
process than the agent that made it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from leakstop.act import lockdown
from leakstop.act.protect import Protection, uncover

_COVERED, _COPIES = "covered", "copies"


def cover(run_dir: Path, places: Iterable[tuple[Path, Path]]) -> tuple[Path, ...]:
    """Keep each path of ``places`` from the job (``Protection.cover``); return the mount points.

    Once is enough: asked again, it returns those that there are.

    Raises:
        LeakstopError: one could not be; those before it are, until ``undo``.
    """
    record = run_dir / _COVERED
    if record.exists():
        return tuple(map(Path, record.read_text().splitlines()))
    protection = Protection(run_dir / _COPIES)
    for path, top in places:
        planned = protection.plan(path, top)
        with record.open("a") as file:
            file.writelines(f"{point}\n" for point in planned)
        protection.cover(path, top)
    return protection.points


def lock_down(run_dir: Path, what: Iterable[str], uid: int) -> None:
    """Take ``what`` from the user ``uid`` (``lockdown.lock_down``) until ``undo``."""
    lockdown.lock_down(what, uid, str(run_dir))


def undo(run_dir: Path) -> tuple[str, ...]:
    """Make the machine as it was before the guard of ``run_dir``; may be called again.

    Returns what could not be undone, in whole sentences.
    """
    kept = lockdown.release(str(run_dir))
    record = run_dir / _COVERED
    if record.exists():
        uncover(record.read_text().splitlines())
        record.unlink()
    return kept


__all__ = ["cover", "lock_down", "undo"]
