# SPDX-License-Identifier: MIT
"""``step:``, ``process:`` and ``container:``: whom a rule, a home or a case is for."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from leakstop.model.verdict import RuleRef
from leakstop.policy import keys
from leakstop.policy.fields import Fields, items, scalar
from leakstop.policy.place import DestinationError
from leakstop.policy.problem import Source
from leakstop.policy.scopes import PROGRAM_BYTES, Scope, fits_kernel
from leakstop.policy.source import Sequence


def read_scope(source: Source, fields: Fields, steps: list[RuleRef]) -> Scope:
    """Read whom a rule or a home is for; note in ``steps`` where it names which."""
    step, process, container = (list(_texts(source, fields, key)) for key in keys.SCOPE)
    steps.extend(step)
    return Scope(_unique(step), _unique(process), _unique(container))


def read_one(source: Source, fields: Fields, steps: list[RuleRef]) -> Scope:
    """Read whose the flow of a case is: one step, one program, one container."""
    for key in keys.SCOPE:
        field = fields.get(key)
        if field is not None and isinstance(field.value, Sequence):
            what = f"`{key}` is a list, and a case is one flow"
            source.error(field.value, what, "write one text; two cases for two of them")
    return read_scope(source, fields, steps)


def _unique(refs: list[RuleRef]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ref.text for ref in refs))


def _texts(source: Source, fields: Fields, key: str) -> Iterator[RuleRef]:
    field = fields.get(key)
    for item in items(source, field.value, key) if field else ():
        text = scalar(source, item, key)
        if text is None:
            continue
        try:
            yield RuleRef(_program(text) if key == "process" else text, source.name, item.line)
        except DestinationError as error:
            source.error(item, error.what, error.fix)


def _program(text: str) -> str:
    """A program as the kernel knows it: by its path, or by the last part of that."""
    bare = re.split(r"[\s*?]", text.rstrip("/").rpartition("/")[2])[0] or "curl"
    if re.search(r"\s", text):
        raise DestinationError(
            f"`process: {text}` has arguments", fix=f"write the executable alone, as in `{bare}`"
        )
    if set(text) & set("*?"):
        raise DestinationError(
            f"`process: {text}`: a process has no wildcards",
            fix="write its path, or the bare name of the executable",
        )
    if "/" in text and not text.startswith("/"):
        raise DestinationError(
            f"`process: {text}` is a relative path",
            fix=f"write the whole path, or the bare name `{bare}`",
        )
    plain = posixpath.normpath(text)
    if text.startswith("/") and (plain != text or plain == "/"):
        raise DestinationError(
            f"`process: {text}` is no path of an executable",
            fix=f"write `{plain}`" if plain != "/" else "write its whole path",
        )
    if not fits_kernel(text):
        raise DestinationError(
            f"this `process` is too long: the kernel compares up to {PROGRAM_BYTES} bytes",
            fix="put the program where its whole path is shorter",
        )
    return text


__all__ = ["read_one", "read_scope"]
