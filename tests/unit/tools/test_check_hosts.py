# SPDX-License-Identifier: MIT
"""The check that no host of a package index is written down."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from leakstop.sensor.indexes import Resolved

TOOL = Path(__file__).resolve().parents[3] / "tools" / "check_hosts.py"


@pytest.fixture
def tool(monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_hosts", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check(tool, tmp_path, monkeypatch, capsys):
    """Checks a work tree with these files on a machine whose index is ``index.test``."""

    def run(files: dict[str, str], *, index: str = "https://index.test:443") -> tuple[int, str]:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        answer = Resolved({"registry:pip": (index,) if index else ()}, ("pip is not installed.",))
        monkeypatch.setattr(tool.indexes, "resolve_with_notes", lambda _: answer)
        monkeypatch.setattr(sys, "argv", ["check_hosts.py", "--directory", str(tmp_path)])
        code = tool.main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_clean_tree(check):
    assert check({"a.md": "registry: pip\n"}) == (0, "")


@pytest.mark.parametrize(
    "text",
    [
        "https://index.test/simple",
        "INDEX.TEST",
        "see index.test.",
        "up.index.test:443",
        "not_index.test index.test",
        '"index.test"',
    ],
)
def test_a_file_that_names_it_is_found_and_the_host_is_not_repeated(check, text):
    code, said = check({"docs/a.md": f"first line\n{text}\n"})
    assert code == 1
    assert "docs/a.md:2: names a host of `registry:pip`" in said
    assert "index.test" not in said.lower()


@pytest.mark.parametrize("text", ["myindex.test", "index.test-site", "index.test.example.test"])
def test_another_name_is_another_name(check, text):
    assert check({"a.md": text}) == (0, "")


def test_ignored_files_are_not_of_the_repository(check):
    assert check({".gitignore": "*.log\n", "a.log": "index.test\n"}) == (0, "")


@pytest.mark.parametrize("index", ["", "https://localhost:3141", "http://127.0.0.1:3141"])
def test_nothing_asked_is_nothing_checked(check, index):
    code, said = check({"a.md": "localhost 127.0.0.1\n"}, index=index)
    assert code == 2
    assert "pip is not installed." in said


def test_this_repository(tool, monkeypatch, capsys):
    """With the managers of this machine, whichever they are."""
    monkeypatch.setattr(sys, "argv", ["check_hosts.py"])
    assert tool.main() in (0, 2), capsys.readouterr().out
