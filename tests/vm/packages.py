# SPDX-License-Identifier: MIT
"""Debian packages from the mirror that this machine is configured for, whichever that is."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def source(suite: str) -> str:
    """Make a line of ``sources.list`` for ``suite``."""
    asked = output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian")
    mirror = next(uri for uri in asked.split() if "security" not in uri)
    return f"deb [signed-by={KEYRING}] {mirror} {suite} main\n"


class Suite:
    """One suite, looked at with lists of its own: the machine's are left alone."""

    def __init__(self, name: str) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        scratch = Path(self._scratch.name)
        (scratch / "lists/partial").mkdir(parents=True)
        (scratch / "sources.list").write_text(source(name))
        self._options = [
            *("-o", f"Dir::Etc::SourceList={scratch}/sources.list"),
            *("-o", "Dir::Etc::SourceParts=-"),
            *("-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}"),
            *("-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"),
        ]
        run("apt-get", *self._options, "-q", "update")

    def dependency(self, package: str, prefix: str) -> str:
        """Name the first package with this prefix that ``package`` depends on."""
        depends = output("apt-cache", *self._options, "depends", package)
        return re.findall(rf"Depends: ({prefix}\S+)", depends)[0]

    def unpack(self, package: str, target: Path) -> None:
        """Download ``package`` and put its files into ``target``."""
        with tempfile.TemporaryDirectory() as scratch:
            run("apt-get", *self._options, "-q", "download", package, cwd=scratch)
            run("dpkg-deb", "-x", str(next(Path(scratch).glob("*.deb"))), str(target))


def run(*command: str, cwd: str | None = None) -> None:
    """Run a command that must not fail; what it prints is of no interest."""
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL)


def output(*command: str) -> str:
    """What a command prints that must not fail."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


__all__ = ["Suite", "output", "run", "source"]
