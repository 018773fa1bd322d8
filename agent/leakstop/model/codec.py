# SPDX-License-Identifier: MIT
"""Values to JSON and back: one object a line in the journal.

Only what the model needs: dataclasses, enums, tuples, numbers, text, ``None``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from leakstop.model import event as events
from leakstop.model.event import Event

_LARGEST = 1 << 64

_PLAIN = frozenset((str, int, float, bool, type(None)))

_KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(events.Event)}


def to_json(value: object) -> Any:
    """Turn a model value into what ``json.dumps`` takes."""
    if value.__class__ in _PLAIN:  # most are, and asking what else costs more
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {name: to_json(getattr(value, name)) for name in _names(value.__class__)}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def event_to_json(event: Event) -> dict[str, Any]:
    """One journal record: the event's fields and its ``kind``."""
    return {"kind": type(event).__name__.lower(), **to_json(event)}


def event_from_json(record: Mapping[str, Any]) -> Event:
    """Read a journal record back.

    Raises:
        ValueError: the record is no event of this version.
    """
    fields = dict(record)
    kind = _KINDS.get(str(fields.pop("kind", "")))
    if kind is None:
        raise ValueError(f"unknown kind of event: {record.get('kind')!r}")
    event: Event = from_json(kind, fields)
    return event


def from_json(kind: Any, value: Any) -> Any:
    """Build a value of type ``kind`` from JSON.

    Raises:
        ValueError: ``value`` does not fit ``kind``.
    """
    origin = get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, got {type(value).__name__}")
        return tuple(from_json(get_args(kind)[0], item) for item in value)
    if origin is not None and type(None) in get_args(kind):
        inner = next(arg for arg in get_args(kind) if arg is not type(None))
        return None if value is None else from_json(inner, value)
    if origin is not None:
        return value
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, got {type(value).__name__}")
        factory: Any = kind
        hints = _hints(factory)
        unknown = set(value) - set(hints)
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
        try:
            return factory(**{name: from_json(hints[name], item) for name, item in value.items()})
        except TypeError as error:
            raise ValueError(str(error)) from error
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        raise ValueError("a number of more than 64 bits")
    if kind is float and isinstance(value, int):
        return float(value)
    if kind is not Any and isinstance(kind, type) and not isinstance(value, kind):
        raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


__all__ = ["event_from_json", "event_to_json", "from_json", "to_json"]
