# SPDX-License-Identifier: MIT
"""Whether tokens of package registries are about, of which only package managers know the home.

To ask a package manager takes longer than all else that ``leakstop run`` does before its command
starts. Where no such token is, nothing is gained by it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping

MAX_FILE = 256 * 1024
"""Bytes of a file that are read."""

_FILES = (".npmrc", ".yarnrc.yml", ".pypirc", ".netrc", ".pip/pip.conf", ".config/pip/pip.conf")
"""Below a home; the first two also in a checkout."""
_WORKSPACE = _FILES[:2]
_POINTERS = ("NPM_CONFIG_USERCONFIG", "npm_config_userconfig", "PIP_CONFIG_FILE", "NETRC")


def places(environ: Mapping[str, str]) -> bytes:
    """All that package managers would take a token from: variables, and files of the user's."""
    variables = "\0".join(environ.values()).encode("utf-8", "surrogateescape")
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - as tools find it
    files = [
        *(f"{home}/{name}" for name in _FILES),
        *_WORKSPACE,
        *filter(None, map(environ.get, _POINTERS)),
    ]
    return b"\0".join((variables, *_contents(files)))


def _contents(files: list[str]) -> Iterator[bytes]:
    for path in files:
        # Anything but a file could make us wait.
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    yield file.read(MAX_FILE)


__all__ = ["MAX_FILE", "places"]
