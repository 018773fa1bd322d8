# SPDX-License-Identifier: MIT
"""The shape of the tree: sizes that stay readable, licences, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "agent"
PYTHON = sorted((AGENT / "leakstop").rglob("*.py"))
C = sorted((AGENT / "leakstop/bpf").glob("*.[ch]"))

FILE_LINES, TEST_LINES, FUNCTION_LINES, HOOK_LINES = 400, 600, 60, 100
DOWNLOAD_BYTES = 768 * 1024
PURE = ("model", "policy", "secrets", "detect", "engine")
# Modules that must not be loaded in the process that runs as root as long as the job does.
HEAVY = ("yaml", "requests", "psutil", "scapy", "asyncio", "http.client", "ssl")


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_fit_a_reading() -> None:
    assert [str(path) for path in PYTHON + C if lines(path) > FILE_LINES] == []
    tests = (ROOT / "tests").rglob("*.py")
    assert [str(path) for path in tests if lines(path) > TEST_LINES] == []
    assert lines(AGENT / "hook/hook.js") <= HOOK_LINES


def test_functions_fit_a_screen() -> None:
    long = [(str(p), n) for p in PYTHON for n, length in functions(p) if length > FUNCTION_LINES]
    assert long == []


def test_every_file_names_its_licence() -> None:
    sources = [*PYTHON, *C, *(ROOT / "tests").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
    assert [str(p) for p in sources if "SPDX-License-Identifier" not in p.read_text()[:120]] == []


def test_the_runner_downloads_little() -> None:
    shipped = [ROOT / "agent", ROOT / "policies", ROOT / "schemas"]
    files = [f for top in shipped for f in top.rglob("*") if f.is_file()]
    sources = (f.read_bytes() for f in sorted(files) if "__pycache__" not in f.parts)
    # As the archive of a release comes: one stream, compressed as gzip does.
    assert len(zlib.compress(b"".join(sources))) < DOWNLOAD_BYTES
    assert [str(f) for f in files if f.is_symlink()] == [], "a dangling one breaks the download"


def test_the_core_reads_no_environment() -> None:
    for package in PURE:
        for path in (AGENT / "leakstop" / package).rglob("*.py"):
            assert "os.environ" not in path.read_text(), path


@pytest.mark.parametrize("module", ["leakstop.daemon.agent", "leakstop.sensor.kernel"])
def test_the_agent_is_light(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        env={"PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()).isdisjoint(HEAVY)
