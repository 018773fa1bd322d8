# SPDX-License-Identifier: MIT
"""Entry point: pick the subcommand, import only that one, turn errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leakstop import __version__
from leakstop.errors import ExitCode, LeakstopError, trace

EPILOG = """\
exit codes:
   0  clean (for `run`: then the command's own code)
   1  a fault of ours
   2  wrong usage
   3  the policy is invalid
   4  this machine is unsupported
  10  findings at or above `fail-on`
  11  flows were denied in block mode
  12  coverage was lost

see docs/cli.md"""


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand. Its module has ``configure(parser)`` and ``run(args) -> int``."""

    name: str
    help: str
    """Empty: not shown, other parts of Leakstop call it."""

    @property
    def module(self) -> str:
        """Where it lives: one file a subcommand."""
        return f"leakstop.cli.{self.name}"


COMMANDS = (
    Command("run", "guard one command"),
    Command("start", "guard the whole machine until `stop`"),
    Command("stop", "end the guard of the machine and print its report"),
    Command("report", "print the report of a guard as it stands"),
    Command("check", "check policies, their expectations, and this repository's workflows"),
    Command("explain", "say what a policy does with a destination, and which line decides"),
    Command("doctor", "say what this machine offers, and which sensor will be used"),
    Command("prepare", ""),
    Command("agent", ""),
    Command("hook", ""),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``leakstop`` with ``argv`` and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except LeakstopError as error:
        print(f"leakstop: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output left; nothing more can be said, and it is no fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.INTERNAL)
    except Exception as error:  # noqa: BLE001 -- whatever it is
        print(
            f"leakstop: internal error: {trace(error)}\n"
            "   = this is a fault of leakstop, please report it",
            file=sys.stderr,
        )
        return int(ExitCode.INTERNAL)


def build_parser(chosen: str = "") -> argparse.ArgumentParser:
    """Build the parser; only the options of the subcommand ``chosen`` are filled in."""
    parser = argparse.ArgumentParser(
        prog="leakstop",
        description="A runtime egress monitor for CI that knows what may not leave.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"leakstop {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        shown: dict[str, Any] = {"help": command.help} if command.help else {}
        sub = subparsers.add_parser(
            command.name, description=_sentence(command.help), allow_abbrev=False, **shown
        )
        if command.name == chosen:
            importlib.import_module(command.module).configure(sub)
    return parser


def _dispatch(arguments: list[str]) -> int:
    # What follows "--" belongs to the guarded command: argparse must not look at it, and
    # treats it differently from one Python to the next.
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    ours, tail = arguments[:cut], arguments[cut + 1 :]
    chosen = next((word for word in ours if not word.startswith("-")), "")
    parser = build_parser(chosen)
    args, unknown = parser.parse_known_args(ours)
    if unknown:
        parser.error(_unknown(args.command, unknown))
    if tail and args.command != "run":
        parser.error(f"{args.command} guards no command: nothing may follow --")
    args.tail = tail
    code: int = importlib.import_module(f"leakstop.cli.{args.command}").run(args)
    return int(code)


def _unknown(command: str, words: Sequence[str]) -> str:
    """Say what to write instead of ``words``, which argparse could make nothing of."""
    if command == "run" and not words[0].startswith("-"):
        return (
            f"`{words[0]}` is no option; what is guarded follows `--`: "
            f"leakstop run [options] -- {shlex.join(words)}"
        )
    return f"`{words[0]}` is not known; `leakstop {command} --help` lists all options"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


if __name__ == "__main__":
    sys.exit(main())
