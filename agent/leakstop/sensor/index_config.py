# SPDX-License-Identifier: MIT
"""Readers of the package managers' configuration, for ``indexes``. No subprocess here."""

from __future__ import annotations

import ast
import configparser
import importlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "proxy")
_APT_PROXY = re.compile(r'^Acquire::https?::Proxy(?:::[^ ]+)? "(?P<url>[^"]+)";$', re.MULTILINE)
# Second-level labels under which strangers register names (`x.co.uk`), by their usual form:
# up to three letters below a country's two. The public suffix list is no dependency of ours.
_SHARED_SUFFIX = re.compile(r"[a-z]{1,3}\.[a-z]{2}")


@dataclass(frozen=True, slots=True)
class Pypirc:
    """What ``~/.pypirc`` says of uploads."""

    repositories: tuple[str, ...] = ()
    uses_default: bool = False
    """An entry without a URL: the uploader's built-in default."""


@dataclass(frozen=True, slots=True)
class UvSettings:
    """What uv's environment and configuration files say."""

    indexes: tuple[str, ...] = ()
    uploads: tuple[str, ...] = ()


def pip_python(search: str) -> str:
    """The interpreter that ``pip`` on the path ``search`` runs with, else ``python3``.

    An environment may hold a Python without pip in front of the one that has it; the first
    line of the ``pip`` script names the right one. A version manager's shim names a shell.
    """
    pip = shutil.which("pip", path=search)
    if pip is not None:
        try:
            with Path(pip).open("rb") as script:
                first = script.readline(512).decode("utf-8", "replace")
        except OSError:
            first = ""
        program = first.removeprefix("#!").strip()
        named = first.startswith("#!/") and "python" in Path(program).name
        if named and os.access(program, os.X_OK):  # it may be in a directory of another user
            return program
    return "python3"


def pip_settings(listing: str) -> dict[str, list[str]]:
    """``pip config list`` (``section.key='value'`` a line) → values by key, any section."""
    settings: dict[str, list[str]] = {key: [] for key in _PIP_KEYS}
    for line in listing.splitlines():
        name, equals, value = line.partition("=")
        key = name.rpartition(".")[2]
        if not equals or key not in settings:
            continue
        try:
            text = ast.literal_eval(value)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            text = value  # all that `literal_eval` may raise
        settings[key] += str(text).split()
    return settings


def uv_settings(environ: Mapping[str, str], home: Path, notes: list[str]) -> UvSettings:
    """Indexes and upload places from ``UV_*`` and the user's and machine's ``uv.toml``."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
    # An entry may be `name=url`.
    indexes = [
        re.sub(r"^[A-Za-z0-9._-]+=", "", item)
        for name in names
        for item in environ.get(name, "").split()
    ]
    uploads: list[str] = []
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    for path in (user / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        try:
            tables = importlib.import_module("tomllib").loads(text)
        except ImportError:
            notes.append("uv's configuration file was not read: it takes Python 3.11 or newer.")
            continue
        except (ValueError, RecursionError):
            notes.append("uv's configuration file could not be read.")
            continue
        try:
            _read_uv(tables, indexes, uploads)
        except (TypeError, AttributeError):
            notes.append("uv's configuration file has values of unknown kinds.")
    return UvSettings(tuple(indexes), tuple(uploads))


def _read_uv(tables: Mapping[str, Any], indexes: list[str], uploads: list[str]) -> None:
    for table in (tables, tables.get("pip", {})):
        for key in ("index-url", "extra-index-url", "find-links"):
            value = table.get(key, [])
            indexes += [value] if isinstance(value, str) else [str(item) for item in value]
    uploads.append(str(tables.get("publish-url", "")))
    for index in tables.get("index", []):
        indexes.append(str(index.get("url", "")))
        uploads.append(str(index.get("publish-url", "")))


def pypirc(path: Path) -> Pypirc:
    """Upload places of ``~/.pypirc``; empty if there is none or it cannot be read."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return Pypirc()
    sections = [name for name in parser.sections() if name != "distutils"]
    urls = [parser.get(name, "repository", fallback="") for name in sections]
    return Pypirc(tuple(url for url in urls if url), uses_default="" in urls)


def npm_settings(settings: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """``npm config list --json`` → registries (the default one and those of scopes), proxies."""
    registries = [
        str(value)
        for key, value in settings.items()
        if value and (key == "registry" or (key.startswith("@") and key.endswith(":registry")))
    ]
    proxies = [str(settings[key]) for key in ("proxy", "https-proxy") if settings.get(key)]
    return registries, proxies


def apt_sources(uris: Iterable[str], notes: list[str]) -> Iterator[str]:
    """URLs behind the ``URIs`` of apt's sources, with lists of mirrors followed on disk."""
    for uri in dict.fromkeys(line.strip() for line in uris):
        method, _, rest = uri.partition(":")
        if method in ("http", "https"):
            yield uri
        elif method in ("mirror+file", "mirror+copy"):
            # The form of GitHub's own runner images (apt-transport-mirror(1)).
            yield from _mirror_list(Path("/" + rest.strip("/")), notes)
        elif method in ("mirror", "mirror+http", "mirror+https"):
            yield f"{method.removeprefix('mirror+').replace('mirror', 'http')}:{rest}"
            notes.append("apt takes its mirrors from a list on the network; they are not known.")
        elif method not in ("file", "copy", "cdrom", ""):
            notes.append(f"apt's transport {method!r} is not understood; its hosts are not known.")


def _mirror_list(path: Path, notes: list[str]) -> Iterator[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError):  # of the text, or of the path
        notes.append("apt's list of mirrors could not be read.")
        return
    for line in lines:
        words = line.split()
        if words and not words[0].startswith("#"):
            yield words[0]


def apt_proxies(dump: str) -> list[str]:
    """Proxies in ``apt-config dump``, for all hosts and for single ones."""
    urls = (match["url"] for match in _APT_PROXY.finditer(dump))
    return [url for url in urls if url not in ("DIRECT", "false")]


def registrable(host: str) -> str:
    """The name that was registered for ``host``: its last two labels, or three (``x.co.uk``)."""
    labels = host.split(".")
    shared = _SHARED_SUFFIX.fullmatch(".".join(labels[-2:])) is not None
    return ".".join(labels[-3:] if shared else labels[-2:])


__all__ = [
    "Pypirc",
    "UvSettings",
    "apt_proxies",
    "apt_sources",
    "npm_settings",
    "pip_python",
    "pip_settings",
    "pypirc",
    "registrable",
    "uv_settings",
]
