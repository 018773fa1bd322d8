# SPDX-License-Identifier: MIT
"""The only place where observed text becomes output.

Host names, paths, arguments, step names and policy text are written by whoever wrote the
job, an attacker included. Each function here takes such text and returns something that
can be put into one kind of output and cannot leave its place there: no tag, table cell,
link, annotation, workflow command or escape sequence can be opened from inside.

Escaped text is for reading; the exact text stands in ``report.json``.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Mapping

LIMIT = 256
"""Characters of one observed text: a DNS name (253) is never cut."""

MESSAGE_LIMIT = 4096
"""Characters of an annotation; the runner cuts there without saying so."""

NOTHING = "–"
"""Stands for an empty text."""

_CUT = "…"

# Categories that change how their neighbours are shown, or that show nothing: controls,
# bidi and zero-width characters, lone surrogates, private and unassigned code points,
# separators. A plain space is the only blank that looks like one.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_MARKS = frozenset({"Mn", "Me"})
# Scripts need up to two marks on a letter; more only serves to paint over other lines.
_MAX_MARKS = 2


def printable(text: str, limit: int = LIMIT) -> str:
    """Make ``text`` one visible line: what cannot be seen is written as ``\\x1b``."""
    shown: list[str] = []
    marks = 0
    for char in text[: limit + 1]:
        category = unicodedata.category(char)
        marks = marks + 1 if category in _MARKS else 0
        hidden = category in _INVISIBLE and char != " "
        shown.append(_visible(char) if hidden or marks > _MAX_MARKS else char)
    line = "".join(shown)
    return line if len(line) <= limit else line[: limit - 1] + _CUT


def _visible(char: str) -> str:
    point = ord(char)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


# --- terminal and log ------------------------------------------------------------------

_SHORT_IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{0,39}::[0-9A-Fa-f:]{0,39}"
    r"(?:\d{1,3}(?:\.\d{1,3}){3})?(?![0-9A-Za-z:.])"
)


def line(text: str, limit: int = LIMIT) -> str:
    """Make ``text`` safe in a line for a terminal or a job's log.

    The runner reads ``::command`` at the start of a line and the legacy ``##[command]``
    anywhere in it, on both streams. Neither pair of characters survives; an IPv6 address
    keeps its meaning, its zeros are written out.
    """
    spelled = _SHORT_IPV6.sub(lambda match: _spell_out(match.group()), text[: limit + 1])
    shown = printable(spelled, limit)
    return re.sub(r"#(?=#\[)", "# ", re.sub(r":(?=:)", ": ", shown))


def _spell_out(address: str) -> str:
    try:
        digits = ipaddress.IPv6Address(address).packed.hex()
    except ValueError:
        return address
    groups = (digits[at : at + 4] for at in range(0, len(digits), 4))
    return ":".join(group.lstrip("0") or "0" for group in groups)


def json_line(encoded: str) -> str:
    """Make a line of ASCII JSON safe in a job's log; it still decodes to the same value.

    Both pairs of characters can only stand inside of JSON strings, so ``\\u`` escapes
    replace them. Every ``#`` is escaped, as readers of old records expect.
    """
    return encoded.replace("#", "\\u0023").replace("::", "\\u003a\\u003a")


# --- workflow commands -----------------------------------------------------------------


def command(name: str, lines: Iterable[str], properties: Mapping[str, str] | None = None) -> str:
    """Build a workflow command such as ``::error title=T::message``.

    ``lines`` are the lines of the message, each escaped on its own: a line break inside
    one of them cannot start another. ``name`` and the property names are constants of ours.
    """
    message = "\n".join(line(text, MESSAGE_LIMIT) for text in lines)
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 1] + _CUT
    fields = ",".join(
        f"{key}={_command_property(value)}" for key, value in (properties or {}).items() if value
    )
    return f"::{name}{' ' if fields else ''}{fields}::{_command_data(message)}"


def _command_data(text: str) -> str:
    # `%` first: the runner undoes it last (toolkit, packages/core/src/command.ts).
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _command_property(text: str) -> str:
    return _command_data(line(text)).replace(":", "%3A").replace(",", "%2C")


# --- Markdown --------------------------------------------------------------------------


def code(text: str, limit: int = LIMIT) -> str:
    """Make ``text`` a code span: nothing in it is Markdown, HTML, a link or a mention."""
    shown = printable(text, limit)
    if not shown.strip():
        return NOTHING
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def cell(text: str, limit: int = LIMIT) -> str:
    """Make ``text`` a code span inside a table row.

    A row is cut at each ``|`` before its code spans are found, and parsers disagree on
    what two backslashes before it mean; that pipe is written as ``\\x7c``.
    """
    unambiguous = re.sub(r"(?<=\\)\|", r"\\x7c", printable(text, limit))
    return code(unambiguous, 2 * limit).replace("|", "\\|")


_PLAIN_WORD = re.compile(
    r"""[("'“‘]*(?:[^\W\d_]+(?:['’/-][^\W\d_]+)*|\d+)[)"'”’]*[.,;:!?]*|[–·—]|[.,;:!?]+""",
)
_QUOTED_WORD = re.compile(r"`([^`]*)`([.,;:!?)]*)")


def prose(text: str, limit: int = 1000) -> str:
    """Make a sentence of ours, which may quote observed text, safe in Markdown.

    Ordinary words stay; everything else (a host, a path, a name with an underscore, HTML)
    becomes a code span. What stands in back ticks stays together. Safe in a table row too.
    """
    parts: list[str] = []
    for piece in re.findall(r"`[^`]*`[^\s`]*|\S+", printable(text, limit)):
        quoted = _QUOTED_WORD.fullmatch(piece)
        if quoted and quoted[1].strip():
            parts.append(cell(quoted[1]) + quoted[2])
        elif _PLAIN_WORD.fullmatch(piece):
            parts.append(piece)
        else:
            parts.append(_quote_word(piece))
    return " ".join(parts)


def _quote_word(word: str) -> str:
    core = word.rstrip(".,;:!?")
    return (cell(core) if core else "") + word[len(core) :]


_LINK = re.compile(r"https://[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]+)?(/[A-Za-z0-9._~/%?=&+#-]*)?")


def link(label: str, address: str) -> str:
    """Link to a page; an address that is not plainly an ``https`` page is shown, not linked.

    ``label`` is a constant of ours.
    """
    return f"[{label}]({address})" if _LINK.fullmatch(address) else cell(address)


def fence(text: str, language: str) -> str:
    """Make a fenced code block out of lines that were escaped one by one."""
    marks = "`" * max(3, _longest_run(text) + 1)
    return f"{marks}{language}\n{text}\n{marks}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


# --- text that people paste ------------------------------------------------------------

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*")
_RULE = re.compile(r"[A-Za-z0-9_.*:/{}\[\]-]{1,300}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def pasteable_host(text: str) -> bool:
    """Whether ``text`` is a name that may stand in YAML that somebody will paste."""
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def pasteable_rule(text: str) -> bool:
    """Whether ``text``, a rule as its author wrote it, may stand in YAML to be pasted."""
    return _RULE.fullmatch(text) is not None


def pasteable_variable(text: str) -> bool:
    """Whether ``text`` is a secret's name that may stand in YAML that somebody will paste."""
    return _VARIABLE.fullmatch(text) is not None


_STEP = re.compile(r"(?!__)[A-Za-z0-9][\w .,:/()@#+-]{0,99}")


def pasteable_step(text: str) -> bool:
    """Whether ``text`` is a step's name that may stand in YAML that somebody will paste, and
    names that step alone: no ``*``, and not what the runner calls a step without a name."""
    return _STEP.fullmatch(text) is not None


def comment(text: str, limit: int = 60) -> str:
    """Make ``text`` safe in a comment of YAML that somebody will paste.

    Only letters, digits and a few signs stay. ``$`` and braces do not: inside the text of
    an input the runner would evaluate ``${{ … }}`` even in a comment.
    """
    kept = re.sub(r"[^\w .,·()/@+-]", "?", printable(text, limit))
    return kept.strip()
