# SPDX-License-Identifier: MIT
"""Check that no host of a package index is written down in this repository.

``registry:pip`` and its like mean what the package managers of a machine are configured for,
so no file may name such a host (docs/indexes.md). Neither may this one: pip, npm and apt are
asked at run time, here as in the product. Prints the places, never the host.

    python tools/check_hosts.py [--directory DIR]
"""

from __future__ import annotations

import argparse
import ipaddress
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "agent"))

from leakstop.sensor import indexes  # noqa: E402 (after the path that it is on)

MANAGERS = frozenset({"registry:pip", "registry:npm", "registry:apt"})


def main() -> int:
    """0: no file names one; 1: some do; 2: nothing could be asked, so nothing was checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=ROOT, help="a git work tree")
    directory = parser.parse_args().directory
    resolved = indexes.resolve_with_notes(MANAGERS)
    hosts = hosts_of(resolved.destinations)
    if not hosts:
        print("check_hosts: no package manager named a host:", *resolved.notes, file=sys.stderr)
        return 2
    places = [
        f"{place}: names a host of `{word}`"
        for host, word in hosts.items()
        for place in mentions(directory, host)
    ]
    for line in places:
        print(line)
    if places:
        print("write `registry:` and let the package manager say its host", file=sys.stderr)
    return 1 if places else 0


def hosts_of(destinations: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Hosts and the word that brought each; this machine and bare names are everywhere."""
    found: dict[str, str] = {}
    for word, places in destinations.items():
        for place in places:
            host = urlsplit(place).hostname or ""
            if "." in host and not _is_loopback(host):
                found.setdefault(host, word)
    return found


def mentions(directory: Path, host: str) -> Iterator[str]:
    """``file:line`` of each line that names ``host`` or a name below it."""
    command = [
        "git",
        "-C",
        str(directory),
        "grep",
        "--untracked",
        "-I",
        "-n",
        "-i",
        "-F",
        "-e",
        host,
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode > 1:
        raise SystemExit(f"check_hosts: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        path, number, text = line.split(":", 2)
        if _names(text.lower(), host):
            yield f"{path}:{number}"


def _names(text: str, host: str) -> bool:
    """Whether ``host`` stands there whole: not as a part of a longer label or address."""
    at = text.find(host)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(host) :]
        continued = after[:1].isalnum() or after[:1] == "-" or _goes_on(after)
        if not (before.isalnum() or before == "-" or continued):
            return True
        at = text.find(host, at + 1)
    return False


def _goes_on(after: str) -> bool:
    """``.test`` behind it makes it another name; the full stop of a sentence does not."""
    return after[:1] == "." and after[1:2].isalnum()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
