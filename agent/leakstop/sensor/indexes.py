# SPDX-License-Identifier: MIT
"""Which hosts ``registry:pip`` and its like mean here: the package managers are asked.

No host of a package index is written down anywhere in this project. Each manager knows its
own (configuration files, environment, built-in default), so private mirrors just work.

The questions run in parallel, before the job can change the answers, and from an empty
directory of their own: a ``.npmrc`` of a project beats the user's, so yesterday's checkout
on a self-hosted runner would choose today's index. No question needs the network.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from leakstop.errors import PolicyError
from leakstop.sensor import index_config as config

DEFAULT_TIMEOUT_S = 10.0

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PROXY_PORTS = {"http": 80, "https": 443, "socks": 1080, "socks4": 1080, "socks5": 1080}
_HOST = re.compile(r"(?:\*\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*")

# The built-in default has no public question. These two attributes of pip have had their
# names since pip 9; without them the answer is a note, never a guess.
_PIP_DEFAULTS = """\
from pip._internal.models.index import PyPI
print(PyPI.simple_url)
print("https://" + PyPI.file_storage_domain)
"""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the package managers answered."""

    destinations: Mapping[str, tuple[str, ...]]
    """For each word such as ``registry:pip`` its destinations with scheme and port."""
    notes: tuple[str, ...] = ()
    """What could not be learned, in whole sentences."""


@dataclass(slots=True)
class _Answers:
    """What came back, by the name of the question, and what a reader may look at besides."""

    environ: Mapping[str, str]
    home: Path
    text: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, question: str) -> str:
        return self.text.get(question, "")


def resolve(
    managers: frozenset[str], *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Mapping[str, tuple[str, ...]]:
    """The destinations of each word in ``managers``; none where nothing could be learned."""
    return resolve_with_notes(managers, timeout_s=timeout_s).destinations


def resolve_with_notes(
    managers: frozenset[str],
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Ask the managers behind words such as ``registry:npm`` or ``publish:pip``.

    Args:
        managers: the words that a policy uses.
        timeout_s: for all questions together.
        environ: environment of the questions; this process's own by default.

    Raises:
        PolicyError: a word that has no package manager behind it.
    """
    unknown = sorted(managers - _READERS.keys())
    if unknown:
        raise PolicyError(
            f"no package manager answers to {unknown[0]!r}",
            fix="use one of " + ", ".join(f"`{word}`" for word in _READERS),
        )
    env = dict(os.environ if environ is None else environ)
    answers = _Answers(env, Path(env.get("HOME") or os.path.expanduser("~")))  # noqa: PTH111
    questions = {name for word in managers for name in _NEEDS[word]}
    _ask({name: _argv(name, env) for name in sorted(questions)}, answers, timeout_s)
    destinations: dict[str, tuple[str, ...]] = {}
    for word in sorted(managers):
        destinations[word] = tuple(dict.fromkeys(_READERS[word](answers)))
        if not destinations[word]:
            answers.notes.append(f"`{word}` names no host on this machine.")
    return Resolved(destinations, tuple(dict.fromkeys(answers.notes)))


def destination(url: str) -> str | None:
    """``scheme://host:port`` of an index; ``None`` if it is no host's (``file:``, a path).

    User, password, path and query are left out: they may hold credentials.
    """
    return _place(url, _DEFAULT_PORTS)


def proxy_destination(url: str) -> str | None:
    """``tcp://host:port`` of a proxy: what is spoken to it names other hosts than its own."""
    return _place(url if "://" in url else f"http://{url}", _PROXY_PORTS, written="tcp")


def _place(url: str, ports: Mapping[str, int], *, written: str = "") -> str | None:
    try:
        parts: SplitResult = urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        host = host.rstrip(".").encode("idna").decode() if not host.isascii() else host.rstrip(".")
    except ValueError:  # a port that is no number, half an IPv6 address, a name that is none
        return None
    scheme_port = ports.get(scheme.removesuffix("h") if scheme.startswith("socks") else scheme)
    if scheme_port is None or not _HOST.fullmatch(host):
        return None
    bracketed = f"[{host}]" if ":" in host else host
    return f"{written or scheme}://{bracketed}:{port or scheme_port}"


# --- asking ------------------------------------------------------------------------------


def _argv(question: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    search = environ.get("PATH", os.defpath)
    if question == "pip config":
        return (config.pip_python(search), "-m", "pip", "config", "list")
    if question == "pip default":
        return (config.pip_python(search), "-c", _PIP_DEFAULTS)
    if question == "npm config":
        # No update check (it would use the network) and no log file in the user's home.
        return ("npm", "config", "list", "--json", "--no-update-notifier", "--logs-max=0")
    if question == "apt targets":
        # What `apt-get update` would download: apt itself reads both formats of its sources.
        return ("apt-get", "indextargets", "--format", "$(REPO_URI)")
    return ("apt-config", "dump")


def _ask(questions: Mapping[str, tuple[str, ...]], answers: _Answers, timeout_s: float) -> None:
    """Start every question at once, then collect; fills ``answers``."""
    search = answers.environ.get("PATH", os.defpath)
    # Interrupted only while it waits: what was just made or started would be left behind.
    with (
        _mask(signal.SIG_BLOCK),
        tempfile.TemporaryDirectory(prefix="leakstop-") as nowhere,
        contextlib.ExitStack() as cleanup,
    ):
        # npm looks for its project upwards from the working directory. This ends the search
        # here, or a package.json and .npmrc that somebody left in /tmp would decide.
        Path(nowhere, "package.json").write_text("{}", "utf-8")
        running: list[tuple[str, subprocess.Popen[bytes]]] = []
        for name, argv in questions.items():
            manager, program = name.split()[0], shutil.which(argv[0], path=search)
            if program is None:
                answers.notes.append(f"{manager} is not installed here.")
                continue
            try:
                process = _start([program, *argv[1:]], nowhere, answers.environ)
            except OSError as error:
                answers.notes.append(f"{manager} could not be started ({error.strerror}).")
                continue
            running.append((name, process))
            cleanup.callback(_stop, process)
        with _mask(signal.SIG_UNBLOCK):
            _collect(running, answers, timeout_s)


def _collect(
    running: Iterable[tuple[str, subprocess.Popen[bytes]]], answers: _Answers, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    for name, process in running:
        manager = name.split()[0]
        try:
            # With a floor, so that a slow manager takes nothing from those that are done.
            out, _ = process.communicate(timeout=max(0.2, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _stop(process)
            answers.notes.append(f"{manager} did not say its hosts within {timeout_s:g} s.")
            continue
        if process.returncode:
            answers.notes.append(f"{manager} could not say its hosts (exit {process.returncode}).")
            continue
        answers.text[name] = out.decode("utf-8", "replace")


@contextlib.contextmanager
def _mask(how: int) -> Iterator[None]:
    before = signal.pthread_sigmask(how, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(argv: list[str], cwd: str, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # may quote a URL with its password
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    # The whole session: a version manager's shim is a shell with the real program below it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


# --- reading the answers -----------------------------------------------------------------


def _all(urls: Iterable[str]) -> Iterator[str]:
    for url in urls:
        if (place := destination(url)) is not None:
            yield place


def _proxies(urls: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    names = ("http_proxy", "https_proxy", "all_proxy")
    from_environ = (environ.get(key, "") for name in names for key in (name, name.upper()))
    for url in (*urls, *from_environ):
        if url and (place := proxy_destination(url)) is not None:
            yield place


def _registry_pip(answers: _Answers) -> Iterator[str]:
    settings = config.pip_settings(answers["pip config"])
    uv = config.uv_settings(answers.environ, answers.home, answers.notes)
    yield from _all(settings["index-url"] + settings["extra-index-url"] + settings["find-links"])
    yield from _all(uv.indexes)
    # Also when an index is configured: mirrors pass on links to the default's file host, and
    # other installers of the job do not read pip's configuration.
    yield from _all(answers["pip default"].split())
    yield from _proxies(settings["proxy"], answers.environ)


def _publish_pip(answers: _Answers) -> Iterator[str]:
    settings = config.pip_settings(answers["pip config"])
    uv = config.uv_settings(answers.environ, answers.home, answers.notes)
    pypirc = config.pypirc(answers.home / ".pypirc")
    named = [
        *(answers.environ.get(key, "") for key in ("TWINE_REPOSITORY_URL", "UV_PUBLISH_URL")),
        *pypirc.repositories,
        *uv.uploads,
    ]
    uploads = list(_all(named))
    yield from uploads
    if not uploads or pypirc.uses_default:
        # Uploads to a private index go to its own host; the default's upload host is a
        # sibling of its index, and nothing but an uploader knows its name.
        yield from _all(settings["index-url"])
        default = next(_all(answers["pip default"].split()), None)
        if default is not None:
            yield f"https://**.{config.registrable(urlsplit(default).hostname or '')}:443"
    yield from _proxies(settings["proxy"], answers.environ)


def _registry_npm(answers: _Answers) -> Iterator[str]:
    try:
        settings = json.loads(answers["npm config"] or "{}")
    except ValueError:
        answers.notes.append("npm's answer could not be read.")
        return
    registries, proxies = config.npm_settings(settings)
    yield from _all(registries)
    yield from _proxies(proxies, answers.environ)


def _registry_apt(answers: _Answers) -> Iterator[str]:
    yield from _all(config.apt_sources(answers["apt targets"].splitlines(), answers.notes))
    yield from _proxies(config.apt_proxies(answers["apt config"]), answers.environ)


_NEEDS: Mapping[str, tuple[str, ...]] = {
    "registry:pip": ("pip config", "pip default"),
    "registry:npm": ("npm config",),
    "registry:apt": ("apt targets", "apt config"),
    "publish:pip": ("pip config", "pip default"),
    "publish:npm": ("npm config",),
}
_READERS: Mapping[str, Callable[[_Answers], Iterator[str]]] = {
    "registry:pip": _registry_pip,
    "registry:npm": _registry_npm,
    "registry:apt": _registry_apt,
    "publish:pip": _publish_pip,
    "publish:npm": _registry_npm,
}
