# SPDX-License-Identifier: MIT
"""The lists of a policy: rules, homes of secrets, and ``expect`` cases.

A list may be one item without brackets, everywhere; a text of several lines is several
items; a map says what a text cannot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeGuard

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy import keys
from leakstop.policy.budgets import NAMES_MAX
from leakstop.policy.destination import (
    DestinationError,
    Entry,
    Extras,
    parse,
    reference,
)
from leakstop.policy.fields import Field, Fields, choice, is_empty, items, read_fields, scalar
from leakstop.policy.inline import HomeText, is_folded, read_word, refuse_folded, words
from leakstop.policy.ports import parse_ports
from leakstop.policy.problem import Source
from leakstop.policy.rules import AddressPlace, PortRange, Protocol, Rule
from leakstop.policy.scope_text import read_one, read_scope
from leakstop.policy.scopes import EVERYBODY, Scope, written
from leakstop.policy.source import Mapping, Node, Scalar, Sequence

_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOSTLIKE = re.compile(r"[a-z0-9.*:/{}\[\]-]+")
_BARE_WORD_LENGTH = 7
"""One byte less than the shortest value that is watched."""
_LABEL_LENGTH = 16


@dataclass(frozen=True, slots=True)
class CaseText:
    """An ``expect`` case, before words are looked up."""

    kind: str
    """``allow``, ``deny`` or ``leak``."""
    entries: tuple[Entry, ...]
    secret: str
    text: str
    """As written, e.g. ``deny: publish:pip``."""
    ref: RuleRef
    scope: Scope
    """Whose flow it is."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the lists of one file."""

    source: Source
    presets: Collection[str]
    steps: list[RuleRef] = field(default_factory=list)
    """Those that rules, homes and cases name, each where it is written."""

    def rules(self, node: Node, section: str, action: Action) -> tuple[Entry, ...]:
        """Read the value of ``allow`` or ``deny``."""
        found: list[Entry] = []
        for item in items(self.source, node, section, may_be_empty=True):
            if isinstance(item, Mapping):
                found += self._rule(item, section, action)
            else:
                found += self._texts(item, section, action)
        return tuple(found)

    def homes(self, node: Node) -> dict[str, HomeText]:
        """Read the value of ``secrets``."""
        with self.source.unquoted():
            return self._homes(node)

    def cases(self, node: Node) -> tuple[CaseText, ...]:
        """Read the value of ``expect``."""
        found = []
        for item in items(self.source, node, "expect", may_be_empty=True):
            if isinstance(item, Mapping):
                case = self._case(item)
                if case is not None:
                    found.append(case)
            elif not item.broken:
                self.source.error(
                    item, f"`{item.text}` is no case", "write `- allow: a.test` or `- deny: b.test`"
                )
        return tuple(found)

    # --- rules --------------------------------------------------------------------------

    def _texts(self, item: Scalar, section: str, action: Action) -> tuple[Entry, ...]:
        """A text is one rule, or one a line."""
        found: list[Entry] = []
        for text, at in self._words(item, section):
            ref = RuleRef(text, self.source.name, at[0])
            found += read_word(self.source, at, ref, action, self.presets)
        return tuple(found)

    def _words(self, item: Scalar, section: str) -> Iterator[tuple[str, tuple[int, int]]]:
        """The words of a text and their places: one, unless the text has several lines."""
        place = (item.line, item.column)
        if is_empty(self.source, item, f"an item of `{section}`"):
            return
        if item.style == "|":
            # It begins on the line behind the indicator.
            lines = self.source.lines[item.line : item.line + item.text.rstrip().count("\n") + 1]
            for word, line, column in words(lines, item.line + 1):
                yield word, (line, column)
        elif item.style == ">" and is_folded(item.text):
            refuse_folded(self.source, item)
        elif item.style == ">" or "\n" in item.text:
            yield from ((word, place) for word in re.split(r"[\s,]+", item.text.strip()) if word)
        else:
            yield item.text, place

    def _rule(self, node: Mapping, section: str, action: Action) -> tuple[Entry, ...]:
        """A map says where with one key, and more with others."""
        if self._space_after_colon(node):
            return ()
        errors = len(self.source.problems)
        where = f"a rule of `{section}`"
        fields = read_fields(self.source, node, keys.RULE, keys.RESERVED_RULE, where)
        kinds = [field for field in fields.pairs if field.key.text in keys.KINDS]
        if len(kinds) > 1:
            first, second = kinds[0].key.text, kinds[1].key.text
            self.source.error(
                kinds[1].key, f"`{first}` and `{second}` in one rule", "write two rules"
            )
        extras = self._extras(fields, section, action)
        if not kinds and len(self.source.problems) == errors:
            self.source.error(
                node, f"{where} does not say where", f"add one of {', '.join(keys.KINDS)}"
            )
        if len(kinds) != 1 or len(self.source.problems) > errors:
            return ()
        found: list[Entry] = []
        kind = kinds[0].key.text
        for item in items(self.source, kinds[0].value, kind):
            if isinstance(item, Mapping):
                self.source.error(item, f"`{kind}` is a map, it should be a text", "write one text")
                continue
            for text, at in self._words(item, kind):
                found += self._destination(kind, text, at, action, extras)
        return tuple(found)

    def _destination(
        self, kind: str, text: str, at: tuple[int, int], action: Action, extras: Extras
    ) -> tuple[Entry, ...]:
        ref = RuleRef(_as_text(kind, text, extras), self.source.name, at[0])
        try:
            if kind not in ("host", "ip"):
                return (reference(kind, text, action, ref, presets=self.presets, extras=extras),)
            entries = parse(text, action, ref, extras=extras, words=False)
            is_address = isinstance(entries[0], Rule) and isinstance(entries[0].place, AddressPlace)
            if is_address != (kind == "ip"):
                other, noun = ("ip", "an address") if is_address else ("host", "a name")
                raise DestinationError(f"`{text}` is {noun}", fix=f"write `{other}: {text}`")
        except DestinationError as error:
            self.source.error(at, error.what, error.fix)
            return ()
        return entries

    def _extras(self, fields: Fields, section: str, action: Action) -> Extras:
        protocol = choice(self.source, fields, "protocol")
        quiet = fields.get("quiet")
        if quiet is not None and action is not Action.DENY:
            self.source.error(
                quiet.key, "`quiet` belongs to `deny`: what is allowed is never red", "remove it"
            )
        why = fields.get("why")
        reason = scalar(self.source, why.value, "why") if why else None
        ports = fields.get("ports")
        names = self._names(fields.get("names"), section)
        return Extras(
            Protocol(protocol) if protocol else None,
            self._ports(ports.value) if ports else (),
            choice(self.source, fields, "quiet") == "true",
            reason or "",
            # A preset that is denied rations nothing: nobody may ask for any of its names.
            names if action is Action.ALLOW else 0,
            read_scope(self.source, fields, self.steps),
        )

    def _names(self, field: Field | None, section: str) -> int:
        """How many names a pattern allows; 0 if that was not written."""
        text = scalar(self.source, field.value, "names") if field else None
        if field is None or text is None:
            return 0
        if section != "allow":
            what = "`names` belongs to `allow`: what is denied needs no ration"
            self.source.error(field.key, what, "remove it")
        elif re.fullmatch("[1-9][0-9]{0,8}", text) and int(text) <= NAMES_MAX:
            return int(text)
        else:
            fix = f"how many names of the pattern a job may ask for: 1 to {NAMES_MAX}"
            self.source.error(field.value, f"`names: {text}` is no such number", fix)
        return 0

    def _ports(self, node: Node) -> tuple[PortRange, ...]:
        found: list[PortRange] = []
        for item in items(self.source, node, "ports"):
            text = scalar(self.source, item, "ports")
            if text is None:
                continue
            several = re.split(r"[,;|]", text)
            try:
                if len(several) > 1:
                    listed = ", ".join(part.strip() for part in several)
                    raise DestinationError(
                        f"`{text}` is several ports in one text", fix=f"write `ports: [{listed}]`"
                    )
                found.append(parse_ports(text))
            except DestinationError as error:
                self.source.error(item, error.what, error.fix)
        return tuple(sorted(set(found)))

    def _space_after_colon(self, node: Mapping) -> bool:
        """``api.example.test: 8443``: a map, because of the space."""
        if len(node.pairs) != 1:
            return False
        key, value = node.pairs[0]
        if not isinstance(value, Scalar) or not re.fullmatch(r"[0-9*-]*", value.text):
            return False
        if key.text in (*keys.ALL_KEYS, "port", "hosts"):
            return False
        if not value.text and "." in key.text and ":" not in key.text:
            self.source.error(key, f"`{key.text}:` ends with a colon", f"write `{key.text}`")
            return True
        if not value.text or not re.search(r"[.:]|^[\w-]+$", key.text):
            return False
        self.source.error(
            key,
            f"`{key.text}: {value.text}` is read as a map, because of the space after the colon",
            f"write `{key.text}:{value.text}`",
        )
        return True

    # --- homes --------------------------------------------------------------------------

    def _homes(self, node: Node) -> dict[str, HomeText]:
        if not isinstance(node, Mapping):
            # It may be NAME=value lines, meant for the action's input of the same name.
            self.source.error(
                node,
                "`secrets` is a map of names and homes, without values",
                "write `NAME: home`; values go into the action's input `secrets`",
            )
            return {}
        named = []
        for key, value in node.pairs:
            if _SECRET_NAME.fullmatch(key.text):
                named.append((key, value))
            elif not key.broken:
                what = "this is no name of a secret"
                self.source.error(key, what, "letters, digits and `_`")
        names = Mapping(tuple(named), node.line, node.column)
        known = [key.text for key, _ in named]
        fields = read_fields(self.source, names, known, (), "`secrets`")
        return {field.key.text: self._home(field.key, field.value) for field in fields.pairs}

    def _home(self, name: Scalar, node: Node) -> HomeText:
        ref = RuleRef(name.text, self.source.name, name.line)
        scope = EVERYBODY
        if isinstance(node, Mapping):
            where = f"the home of `{name.text}`"
            fields = read_fields(self.source, node, keys.HOME, (), where)
            scope, to = read_scope(self.source, fields, self.steps), fields.get("to")
            if to is None:
                if fields.pairs:
                    self.source.error(node, f"{where} does not say where", "add `to:`")
                return HomeText((), (), ref)
            node = to.value
        if isinstance(node, Sequence) and not node.items:
            self.source.error(node, f"`{name.text}` has no home", "if it has none, write `nowhere`")
            return HomeText((), (), ref)
        listed = [item for item in items(self.source, node, name.text) if self._is_text(item)]
        texts = tuple(item.text for item in listed)
        if texts == ("nowhere",):
            if scope != EVERYBODY:
                what = "`nowhere` is nowhere for everybody"
                self.source.error(listed[0], what, "leave out the other keys")
            return HomeText((), texts, ref)
        found: list[Entry] = []
        for item in listed:
            if not item.broken:
                found += self._home_entries(name, item, Extras(scope=scope))
        return HomeText(tuple(found), texts, ref)

    def _is_text(self, item: Scalar | Mapping) -> TypeGuard[Scalar]:
        if isinstance(item, Mapping):
            self.source.error(
                item, "a home is a destination, without rule keys", "write it as text"
            )
        return isinstance(item, Scalar)

    def _home_entries(self, name: Scalar, item: Scalar, extras: Extras) -> Iterator[Entry]:
        if item.text == "nowhere":
            self.source.error(item, "`nowhere` stands alone", "remove it, or the others")
            return
        if not item.text:
            self.source.error(item, f"`{name.text}` has no home", "if it has none, write `nowhere`")
            return
        try:
            ref = RuleRef(item.text, self.source.name, item.line)
            yield from parse(item.text, Action.ALLOW, ref, presets=self.presets, extras=extras)
        except DestinationError as error:
            if _may_be_shown(item.text):
                self.source.error(item, error.what, error.fix)
                return
            self.source.error(
                item,
                f"the home of `{name.text}` is no destination (not printed: it may be a value)",
                "write where it may go, as in `api.example.test`, or `nowhere`",
            )

    # --- cases --------------------------------------------------------------------------

    def _case(self, node: Mapping) -> CaseText | None:
        errors = len(self.source.problems)
        where = "a case of `expect`"
        fields = read_fields(self.source, node, keys.CASE, keys.RESERVED_CASE, where)
        kinds = [kind for kind in ("allow", "deny", "leak") if fields.get(kind)]
        if len(kinds) != 1:
            if len(self.source.problems) == errors:
                fix = "write two cases" if kinds else "write `{allow: a.test}`"
                self.source.error(node, f"{where} has one of `allow`, `deny`, `leak`", fix)
            return None
        kind, scope = kinds[0], read_one(self.source, fields, self.steps)
        value, to = fields[kind].value, fields.get("to")
        secret = ""
        if (kind == "leak") != (to is not None):
            fix = "write `{leak: NAME, to: host}`" if kind == "leak" else "remove `to`"
            self.source.error(node, f"`to` belongs to `leak`, and `leak` to `to`, in {where}", fix)
            return None
        if to is not None:
            secret = scalar(self.source, value, "leak") or ""
            value = to.value
        text = scalar(self.source, value, kind)
        if text is None or len(self.source.problems) > errors or not isinstance(value, Scalar):
            return None
        # A case is one flow, so its destination means what it means under `allow`.
        destination = RuleRef(text, self.source.name, value.line)
        entries = read_word(self.source, value, destination, Action.ALLOW, self.presets)
        parts = [f"leak: {secret}", f"to: {text}"] if secret else [f"{kind}: {text}"]
        parts += written(scope)
        shown = f"{{{', '.join(parts)}}}" if len(parts) > 1 else parts[0]
        ref = RuleRef(shown, self.source.name, node.line)
        return CaseText(kind, entries, secret, shown, ref, scope)


def _as_text(kind: str, text: str, extras: Extras) -> str:
    """A rule that was a map, on one line and so that it can be pasted."""
    plain = extras.scope == EVERYBODY
    if plain and extras.protocol is None and not extras.ports and not extras.names:
        return text if kind in ("host", "ip", "preset") else f"{kind}:{text}"
    ports = ", ".join(str(each) for each in extras.ports)
    parts = [f"{kind}: {text}"]
    parts += [f"ports: [{ports}]"] if ports else []
    parts += [f"protocol: {extras.protocol.value}"] if extras.protocol else []
    parts += [f"names: {extras.names}"] if extras.names else []
    parts += written(extras.scope)
    return "{" + ", ".join(parts) + "}"


def _may_be_shown(text: str) -> bool:
    """Whether a text that is no destination looks like one, rather than like a secret's value."""
    labels = re.findall(r"[^.:/]+", text)
    longest = _LABEL_LENGTH if len(labels) > 1 else _BARE_WORD_LENGTH
    return _HOSTLIKE.fullmatch(text) is not None and max(map(len, labels), default=0) <= longest


__all__ = ["CaseText", "Reader"]
