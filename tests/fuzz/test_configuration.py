# SPDX-License-Identifier: MIT
"""What a job's environment and files say to readers of ours: nonsense costs what it says alone."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from fuzz.mutate import bend, bend_json, fuzz
from leakstop.cli import workflows
from leakstop.sensor import index_config
from leakstop.sensor.steps import step_label

ENVIRONMENTS = [
    b"GITHUB_ACTION=__run_2\0PATH=/bin\0",
    b"GITHUB_ACTION=deploy\0GITHUB_ACTION_REPOSITORY=acme/deploy\0",
    b"GITHUB_ACTION=__acme_deploy_3\0GITHUB_ACTION_REPOSITORY=acme/deploy\0X\0=\0",
]
ARGUMENTS = [
    b"/bin/bash\0-e\0/home/r/_temp/0a1b2c3d-0000-1111-2222-333344445555.sh\0",
    b"/n/node\0/home/r/_actions/acme/deploy/v1/dist/index.js\0",
]
WORKFLOWS = [
    """\
on: push
jobs:
  a:
    if: x
    steps:
      - uses: o/leakstop@v1
        continue-on-error: true
      - run: x
  b: {steps: [run: y]}
  c: {uses: ./d.yml}
""",
    "jobs: &a\n  x: *a\n",
]
YAML = [
    *"\n[]{}'|%#,\t\0\x85é\ud800", "- ", ": ", "&a ", "*a", "!!x ", "<<: *a", "? ", "---\n",
    "jobs:", "steps:", "uses: o/leakstop@v1",
]  # fmt: skip
PIP = ["global.index-url='https://i.test/simple'\n:env:.extra-index-url='a b'\nx=\n"]
PIP_WORDS = [*"'\"\\(\0=\n.", "-" * 300, "[" * 300, "b''", "1" * 5000, "\\N{x}"]
TOML = [
    'index-url = "https://i.test"\n[[index]]\nurl = "https://j.test"\npublish-url = "https://k.test"\n',
    '[pip]\nextra-index-url = ["https://i.test"]\nfind-links = []\n',
]
TOML_WORDS = [
    *'[]=\n"1\x85', "{}", "[[", "true", "pip = 1\n", "index = 1\n", "index = [1]\n",
    "publish-url = []\n", "index-url = 1\n", "." * 50,
]  # fmt: skip
INI = ["[distutils]\nindex-servers =\n  a\n[a]\nrepository: https://a.test\n[b]\nusername = x\n"]
INI_WORDS = [*"[]\n=:;#\0", "%(x)s", "[a]\n", "  ", "repository", "[]\n"]
NPM = {"registry": "https://i.test/", "@acme:registry": "https://j.test/", "proxy": None, "a": 1}
APT = ["http://d.test/x", "mirror+file:/etc/none", "mirror://m.test/l", "cdrom:x", ":"]
PROXIES = ['Acquire::http::Proxy "http://p.test:3128";\nAcquire::https::Proxy::h.test "DIRECT";\n']


def test_steps() -> None:
    words = [
        b"\0",
        b"=",
        b"_",
        b"GITHUB_ACTION=",
        b"\xff",
        b"\xed\xa0\x80",
        b"9" * 5000,
        b"/_actions/",
        b"\n",
    ]

    def take(random: Random) -> None:
        argv = bend(random, ARGUMENTS, words).split(b"\0")
        label = step_label(bend(random, ENVIRONMENTS, words), argv)
        assert len(label) <= 100 and label.isprintable()

    fuzz("steps", 4_000, take)


def test_workflows() -> None:
    def take(random: Random) -> None:
        for remark in workflows.inspect("w.yml", bend(random, WORKFLOWS, YAML)):
            assert str(remark)

    fuzz("workflows", 1_000, take)


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_pip_and_apt() -> None:
    def take(random: Random) -> None:
        index_config.pip_settings(bend(random, PIP, PIP_WORDS))
        index_config.apt_proxies(bend(random, PROXIES, ['"', ";", "\n", "Acquire::", " "]))
        list(index_config.apt_sources([bend(random, APT, [":", "/", "mirror+", "\0", " "])], []))

    fuzz("pip and apt", 2_000, take)


def test_npm() -> None:
    def take(random: Random) -> None:
        settings = bend_json(random, NPM)
        if isinstance(settings, dict):
            json.dumps(index_config.npm_settings(settings))

    fuzz("npm", 1_000, take)


def test_uv_and_pypirc(tmp_path: Path) -> None:
    file = tmp_path / "uv" / "uv.toml"
    file.parent.mkdir()

    def take(random: Random) -> None:
        file.write_text(bend(random, TOML, TOML_WORDS), "utf-8")
        found = index_config.uv_settings({"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path, [])
        assert all(isinstance(text, str) for text in (*found.indexes, *found.uploads))
        file.write_text(bend(random, INI, INI_WORDS), "utf-8")
        index_config.pypirc(file)

    fuzz("uv and pypirc", 300, take)
