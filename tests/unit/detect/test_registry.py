# SPDX-License-Identifier: MIT
"""The list of detectors, their files, ids and documentation agree."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import leakstop.detect
from leakstop.detect.detector import Detector, DetectorMeta
from leakstop.detect.registry import DETECTORS
from leakstop.engine.findings import DETECTOR_ERROR

FOLDER = Path(leakstop.detect.__file__).parent
DOCS = FOLDER.parents[2] / "docs" / "detectors"
METAS = [detector.meta for detector in DETECTORS]


def test_every_detector_file_is_in_the_list_and_the_reverse() -> None:
    files = {
        path.stem for path in FOLDER.glob("*.py") if re.search(r"^META = ", path.read_text(), re.M)
    }
    assert files == {meta.id.replace("-", "_") for meta in METAS}
    assert len(METAS) == len(files)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.meta.id)
def test_a_detector_is_what_its_file_says(detector: type[Detector]) -> None:
    module = importlib.import_module(detector.__module__)
    assert detector.meta is module.META
    assert detector.meta.needs
    text = module.__doc__ or ""
    assert all(word in text for word in ("Why: ", "Sees: ", "Quiet when: "))


@pytest.mark.parametrize("meta", METAS, ids=lambda meta: meta.id)
def test_the_docs_page_repeats_the_metadata(meta: DetectorMeta) -> None:
    page = (DOCS / f"{meta.id}.md").read_text()
    assert page.startswith(f"# {meta.id}\n\n{meta.title}.\n")
    table = page.partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", table, re.M))
    assert rows == {
        "Severity": meta.severity.value,
        "Shown": ", ".join(kind.__name__.lower() for kind in meta.needs),
        "Incident": meta.incident,
        "Since": meta.since,
    }
    for heading in ("What it means", "What to do", "When it is silent"):
        assert f"\n## {heading}\n" in page


def test_there_is_a_page_for_every_id_that_a_report_can_show() -> None:
    ids = {meta.id for meta in METAS} | {DETECTOR_ERROR}
    assert {path.stem for path in DOCS.glob("*.md")} == ids
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", name) for name in ids)
