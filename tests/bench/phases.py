# SPDX-License-Identifier: MIT
"""Runs ``leakstop`` as usual and writes down when each phase began and ended, in each process.

``phases.py FILE run … -- CMD``: the functions below are wrapped when their module is imported,
in whichever process that happens, so nothing is imported earlier than it would have been.
Times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from time import clock_gettime_ns
from types import ModuleType
from typing import Any

MONOTONIC = 1
"""CLOCK_MONOTONIC of <time.h>"""
WATCHED: dict[str, tuple[str, ...]] = {
    "leakstop.cli.main": ("main",),
    "leakstop.cli.prepare": ("prepare", "load_compiler", "build"),
    "leakstop.cli.run": ("_arm",),
    "leakstop.cli.spawn": ("Command.start",),
    "leakstop.cli.start": ("launch",),
    "leakstop.daemon.main": ("serve_owner", "serve_detached"),
    "leakstop.daemon.assemble": ("build_plan", "raise_guard"),
    "leakstop.sensor.kernel": (
        "_load",
        "KernelSensor._fill",
        "KernelSensor._make_followers",
        "KernelSensor.start",
        "KernelSensor._running",
    ),
    "leakstop.sensor.attachment": ("Attachment.attach", "Attachment.cover_uplinks"),
}
"""Module → functions; a dot leads into a class."""


def note(phase: str, began: int, ended: int) -> None:
    """Append one line; a write this short is whole, whoever else writes."""
    # Opened each time: the child that reads the policy closes every descriptor it inherits.
    log = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.write(log, f"{os.getpid()} {phase} {began} {ended}\n".encode())
    os.close(log)


def timed(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function; a generator is made to run to its end at once, to be timed whole."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = clock_gettime_ns(MONOTONIC)
        try:
            result = function(*args, **kwargs)
            return list(result) if hasattr(result, "__next__") else result
        finally:
            note(phase, began, clock_gettime_ns(MONOTONIC))

    return wrapper


class Watcher(MetaPathFinder, Loader):
    """Times imports of the watched modules, with all that they import, and wraps functions."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a watched module as usual, and be its loader."""
        if name not in WATCHED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            self._loaders[name] = spec.loader
            spec.loader = self
        return spec

    def __init__(self) -> None:
        self._loaders: dict[str, Loader] = {}

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As usual."""
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then wrap."""
        name = module.__name__
        began = clock_gettime_ns(MONOTONIC)
        self._loaders[name].exec_module(module)
        note(f"import:{name}", began, clock_gettime_ns(MONOTONIC))
        for place in WATCHED[name]:
            owner: Any = module
            *parents, last = place.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            inner = owner.__dict__.get(last)
            if inner is None:  # it has another name by now: a line less, the rest is still right
                continue
            if isinstance(inner, classmethod):
                setattr(owner, last, classmethod(timed(place, inner.__func__)))
            else:
                setattr(owner, last, timed(place, inner))


if __name__ == "__main__":
    _LOG = sys.argv.pop(1)
    note("python", clock_gettime_ns(MONOTONIC), clock_gettime_ns(MONOTONIC))
    sys.meta_path.insert(0, Watcher())
    from leakstop.cli.main import main

    sys.exit(main())
