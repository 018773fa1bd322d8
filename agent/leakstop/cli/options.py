# SPDX-License-Identifier: MIT
"""Options that several subcommands share: what a policy is made of."""

from __future__ import annotations

import argparse
import errno
import os
from dataclasses import dataclass

from leakstop.errors import UsageError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Leak, Mode
from leakstop.secrets.inventory import Secret, from_environment, parse_input

_SECRETS_MAX = 16 << 20
"""1,000 secrets of GitHub's largest size are 48 MiB; nobody has so many of those."""

UPLINKS = ("auto", "none")
"""Values of ``--uplinks``."""


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a policy as it is handed in."""

    name: str
    """Path, or what messages call the text."""
    text: str | None = None
    """The text itself; ``None``: read the file ``name``."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A policy as it is asked for: files and flags, nothing read yet. Flags win over files."""

    policies: tuple[Text, ...] = ()
    """In order, the nearest last."""
    allow: tuple[Text, ...] = ()
    """Destinations in the inline form."""
    mode: Mode | None = None
    leak: Leak | None = None
    fail_on: Severity | None = None
    on_unsupported: str = ""
    secrets: tuple[Secret, ...] = ()
    """Known secrets; their names and formats place them."""


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """Add the options from which ``wish`` builds a ``Wish``."""
    group = parser.add_argument_group("policy (flags win over files)")
    group.add_argument(
        "--policy",
        metavar="FILE",
        action="append",
        default=[],
        help="a policy file; may be repeated, the files add up",
    )
    group.add_argument(
        "--allow",
        metavar="DEST",
        action="append",
        default=[],
        help="allow this too, e.g. api.example.test:8443; may be repeated",
    )
    group.add_argument("--mode", choices=[mode.value for mode in Mode])
    group.add_argument("--leak", choices=[leak.value for leak in Leak])
    group.add_argument(
        "--fail-on", choices=[severity.value for severity in Severity if severity.rank > 0]
    )
    group.add_argument("--on-unsupported", choices=["fail", "audit"])
    group.add_argument(
        "--secret",
        metavar="NAME",
        action="append",
        default=[],
        help="watch the value of this environment variable; may be repeated",
    )
    group.add_argument(
        "--secrets-fd",
        metavar="N",
        type=int,
        help="read NAME=value or NAME@home=value lines from this descriptor, which is then closed",
    )


def add_guard_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a guard is put."""
    parser.add_argument(
        "--uplinks",
        choices=UPLINKS,
        default=UPLINKS[0],
        help="auto: also put programs on the network interfaces that lead off this machine, "
        "which answer refused DNS questions and, under `start`, judge what no socket sent",
    )


def add_canary_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--canaries``."""
    parser.add_argument(
        "--canaries",
        action="store_true",
        help="plant credentials that open nothing; a process that sends one is stopped",
    )


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the report goes."""
    parser.add_argument(
        "--report-dir",
        metavar="DIR",
        help="write report.json, events.ndjson and summary.md there",
    )
    parser.add_argument(
        "--summary",
        choices=["auto", "full", "off"],
        default="auto",
        help="how long summary.md is: auto is short when there is nothing to do",
    )


def wish(args: argparse.Namespace) -> Wish:
    """Read the options back.

    Raises:
        UsageError: a secret is not set, or cannot be watched.
    """
    named = (from_environment(name, os.environ.get(name)) for name in dict.fromkeys(args.secret))
    given = _read_secrets(args.secrets_fd) if args.secrets_fd is not None else ()
    found = {secret.name: secret for secret in (*given, *filter(None, named))}
    return Wish(
        policies=tuple(Text(path) for path in args.policy),
        allow=tuple(Text("--allow", text) for text in args.allow),
        mode=Mode(args.mode) if args.mode else None,
        leak=Leak(args.leak) if args.leak else None,
        fail_on=Severity(args.fail_on) if args.fail_on else None,
        on_unsupported=args.on_unsupported or "",
        secrets=tuple(found.values()),
    )


def _read_secrets(descriptor: int) -> tuple[Secret, ...]:
    """Read a descriptor to its end and close it, so that no command inherits it.

    Raises:
        UsageError: it cannot be read, or holds something else than declarations.
    """
    where = f"--secrets-fd {descriptor}"
    try:
        if descriptor <= 2:
            raise OSError(errno.EBADF, "0, 1 and 2 are the command's own")
        with open(descriptor, "rb") as file:
            data = file.read(_SECRETS_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"the secrets cannot be read: {error.strerror}",
            fix="open it for the guard, as in `leakstop run --secrets-fd 3 -- CMD 3< FILE`",
            where=where,
        ) from None
    if len(data) > _SECRETS_MAX:
        raise UsageError(f"more than {_SECRETS_MAX >> 20} MiB of secrets", where=where)
    # Bytes that are no UTF-8 stay what they are, as in an environment.
    return parse_input(data.decode("utf-8", "surrogateescape"), where=where)


def uplinks(args: argparse.Namespace) -> bool:
    """Whether the guard may use network interfaces."""
    return bool(args.uplinks != "none")


__all__ = [
    "Text",
    "Wish",
    "add_canary_option",
    "add_guard_options",
    "add_policy_options",
    "add_report_options",
    "uplinks",
    "wish",
]
