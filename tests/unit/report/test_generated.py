# SPDX-License-Identifier: MIT
"""Files that are generated are up to date, and the event schema is right."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from jsonschema import Draft202012Validator

from leakstop.model import event as events
from leakstop.model.codec import event_to_json

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "schemas" / "event-v1.schema.json").read_text())
KINDS = get_args(events.Event)


@pytest.mark.parametrize(
    "tool", ["gen_coverage.py", "gen_event_schema.py", "gen_formats.py", "gen_summary_picture.py"]
)
def test_up_to_date(tool: str) -> None:
    command = [sys.executable, str(ROOT / "tools" / tool), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_picture_is_plain_svg() -> None:
    root = ElementTree.parse(ROOT / "docs" / "summary.svg").getroot()
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert kinds == {"svg", "style", "rect", "path", "text"}
    words = " ".join(element.text or "" for element in root.iter())
    assert "NPM_TOKEN" in words
    assert "OpenSSL" in words


def sample(hint: Any) -> Any:
    """A value of a field's type."""
    if get_origin(hint) is tuple:
        return (sample(get_args(hint)[0]),)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if hint is events.SecretHit:
        return events.SecretHit("NPM_TOKEN", "raw")
    return hint(1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_fits_the_schema(kind: Any) -> None:
    hints = get_type_hints(kind)
    full = kind(**{field.name: sample(hints[field.name]) for field in fields(kind)})
    needed = [field for field in fields(kind) if field.default is MISSING]
    least = kind(**{field.name: sample(hints[field.name]) for field in needed})
    validator = Draft202012Validator(SCHEMA)
    for event in (full, least):
        record = json.loads(json.dumps(event_to_json(event)))
        validator.validate(record)
        assert not validator.is_valid({**record, "more": 1})
        assert not validator.is_valid({**record, "kind": "other"})
