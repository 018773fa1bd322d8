# SPDX-License-Identifier: MIT
"""``report.json`` is what its schema says, field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from leakstop.report import directory, json_v1
from unit.report import cases, golden, hostile

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[3] / "schemas" / "report-v1.schema.json").read_text()
)


def closed(schema: Any) -> Any:
    """The schema with every object complete: each field known, none missing."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        tight |= {"additionalProperties": False, "required": list(schema["properties"])}
    return tight


CLOSED = Draft202012Validator(closed(SCHEMA), format_checker=Draft202012Validator.FORMAT_CHECKER)
OPEN = Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("name", cases.CASES)
def test_every_field_is_in_the_schema(name: str) -> None:
    CLOSED.validate(json.loads(json_v1.render(cases.CASES[name])))


@pytest.mark.parametrize("payload", [*hostile.PAYLOADS, "\udcff"])
def test_hostile_text_is_only_text(payload: str) -> None:
    text = json_v1.render(hostile.infect(cases.STOPPED, payload))
    assert text.isascii()
    assert not set(text) & set("\x00\x1b\x7f")
    document = json.loads(text)
    CLOSED.validate(document)
    expected = payload.encode("utf-8", "replace").decode()
    assert document["findings"][0]["step"] == expected


@pytest.mark.parametrize("name", ["detached", "stopped"])
def test_golden(name: str) -> None:
    golden.check("report", f"{name}.json", json_v1.render(cases.CASES[name]))


def test_the_schema_describes_every_field() -> None:
    def undescribed(schema: Any, path: str) -> list[str]:
        if not isinstance(schema, dict):
            return []
        found = []
        for name, field in schema.get("properties", {}).items():
            if "description" not in field and "$ref" not in field:
                found.append(f"{path}.{name}")
            found += undescribed(field, f"{path}.{name}")
        for name, part in schema.get("$defs", {}).items():
            found += undescribed(part, name)
        return found

    assert undescribed(SCHEMA, "") == []


def test_the_schema_refuses_what_is_no_report() -> None:
    document = json.loads(json_v1.render(cases.STOPPED))
    for field in ("verdict", "mode", "coverage", "findings", "flows"):
        assert not OPEN.is_valid({k: v for k, v in document.items() if k != field})
    assert not OPEN.is_valid({**document, "verdict": "maybe"})


def test_the_contract() -> None:
    """Names that other tools rely on."""
    document = json_v1.document(cases.STOPPED)
    assert document["verdict"] == "fail"
    assert document["mode"] == "audit"
    assert document["policy"]["digest"] == cases.POLICY.digest
    assert {"sensor", "lost_events", "notes"} <= document["coverage"].keys()
    (finding,) = document["findings"]
    names = "id severity title process destination secret step action_taken what_to_do"
    assert set(names.split()) <= finding.keys()
    assert {"pid", "exe", "argv", "ancestry"} <= finding["process"].keys()
    names = "host ip port protocol process step policy_verdict applied rule count"
    assert set(names.split()) <= document["flows"][0].keys()
    assert finding["first_seen"] == "2026-11-21T02:11:09.000Z"
    assert document["flows"][-2]["rule"] == "api.example.test (.github/leakstop.yml:7)"


def test_long_arguments_are_cut_and_said_to_be() -> None:
    process = replace(cases.CURL, argv=("curl", "x" * 100_000, *("y" for _ in range(400))))
    finding = replace(cases.LEAK_FINDING, process=process)
    document = json_v1.document(replace(cases.STOPPED, findings=(finding,)))
    shown = document["findings"][0]["process"]
    assert shown["truncated"] is True
    assert len(shown["argv"]) == json_v1.ARGUMENTS
    assert len(shown["argv"][1]) == json_v1.ARGUMENT_LIMIT


def test_what_is_left_when_rendering_fails_is_still_a_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(report: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(json_v1, "render", broken)
    files: dict[str, str] = {}
    directory.write(cases.STOPPED, files.__setitem__)
    document = json.loads(files["report.json"])
    OPEN.validate(document)
    assert document["verdict"] == "fail"
    assert document["exit_code"] == 10
