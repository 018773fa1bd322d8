# SPDX-License-Identifier: MIT
"""Packages of others that the action needs: PyYAML to read policies, psutil without root; and
hpack, without which HTTP/2 headers are only known in their usual encodings.

A release of the action carries them in ``agent/vendor``. A plain checkout takes the system's,
and only where there are none asks pip, which then has to deliver exactly the files whose
hashes are written down.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from leakstop.errors import LeakstopError

_AGENT = Path(__file__).resolve().parents[2]
VENDOR = _AGENT / "vendor"
"""Beside the package, where ``__main__`` looks, too."""
REQUIREMENTS = _AGENT / "requirements.txt"

_PATIENCE_S = 60.0
_EXCERPT = 500


def has(module: str) -> bool:
    """Whether ``import module`` works."""
    return importlib.util.find_spec(module) is not None


def provide(module: str) -> None:
    """Make ``import module`` work, here and in processes that are started from here on.

    Raises:
        LeakstopError: pip could not deliver it.
    """
    if has(module):
        return
    _fetch()
    sys.path_importer_cache.pop(str(VENDOR), None)  # it was not there when it was looked at first
    if str(VENDOR) not in sys.path:
        sys.path.insert(0, str(VENDOR))
    if not has(module):
        raise _missing(f"{module} is not among what pip delivered")


def _fetch() -> None:
    command = [sys.executable, "-I", "-B", "-m", "pip", "--disable-pip-version-check", "install"]
    command += ["--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    with tempfile.TemporaryDirectory(dir=VENDOR.parent) as draft:
        command += ["--target", draft, "--requirement", str(REQUIREMENTS)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _missing(str(error)) from error
        if done.returncode:
            said, _, fault = done.stderr.strip().partition("ERROR: ")
            raise _missing((fault or said)[:_EXCERPT])
        shutil.copytree(draft, VENDOR, dirs_exist_ok=True)


def _missing(why: str) -> LeakstopError:
    return LeakstopError(
        "PyYAML and psutil are not installed, and could not be fetched",
        why=why,
        fix="use a release of the action (it carries them), or install the system's python3-yaml "
        "and python3-psutil",
    )


__all__ = ["VENDOR", "has", "provide"]
