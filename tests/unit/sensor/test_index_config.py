# SPDX-License-Identifier: MIT
"""Readers of the package managers' configuration."""

from __future__ import annotations

import sys

import pytest

from leakstop.sensor import index_config as config


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("index.test", "index.test"),
        ("a.b.index.test", "index.test"),
        ("packages.acme.co.uk", "acme.co.uk"),
        ("acme.com.au", "acme.com.au"),
        ("packages.acme.de", "acme.de"),
        ("localhost", "localhost"),
    ],
)
def test_registrable(host, expected):
    assert config.registrable(host) == expected


def test_pip_settings_take_any_section_and_older_quoting():
    listing = (
        "global.index-url='https://a.test/simple'\n"
        ":env:.index-url='https://b.test/simple'\n"
        "download.index-url=https://c.test/simple\n"
        "no equals sign\n"
    )
    assert config.pip_settings(listing)["index-url"] == [
        "https://a.test/simple",
        "https://b.test/simple",
        "https://c.test/simple",
    ]


def test_a_pip_whose_interpreter_cannot_be_looked_at_is_not_asked(tmp_path):
    pip = tmp_path / "pip"
    pip.write_text(f"#!/{'a' * 300}/python3\n")  # no system has such a name: ENAMETOOLONG
    pip.chmod(0o755)
    assert config.pip_python(str(tmp_path)) == "python3"
    pip.write_text(f"#!{sys.executable}\n")
    assert config.pip_python(str(tmp_path)) == sys.executable


def test_a_broken_pypirc_is_none(tmp_path):
    (tmp_path / "pypirc").write_text("no section\n")
    assert config.pypirc(tmp_path / "pypirc") == config.Pypirc()
    assert config.pypirc(tmp_path / "absent") == config.Pypirc()


@pytest.mark.parametrize("text", ["= no toml", "index-url = 1", "pip = 1", "index = [1]"])
def test_a_broken_uv_configuration_is_a_note(tmp_path, text):
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text(text)
    notes: list[str] = []
    config.uv_settings({"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path, notes)
    assert len(notes) == 1 and notes[0].startswith("uv's configuration file")


@pytest.mark.parametrize(
    ("uri", "expected", "noted"),
    [
        ("http://a.test/", ["http://a.test/"], 0),
        ("mirror://a.test/list", ["http://a.test/list"], 1),
        ("mirror+https://a.test/list", ["https://a.test/list"], 1),
        ("mirror+file:/absent", [], 1),
        ("mirror+file:/a\0b", [], 1),
        ("cdrom:[disc]/", [], 0),
        ("tor+http://a.test/", [], 1),
        ("", [], 0),
    ],
)
def test_apt_transports(uri, expected, noted):
    notes: list[str] = []
    assert list(config.apt_sources([uri], notes)) == expected
    assert len(notes) == noted


def test_apt_proxies_of_all_hosts_and_of_one():
    dump = (
        'Acquire::http::Proxy "http://a.test:3142/";\n'
        'Acquire::http::Proxy::deb.test "DIRECT";\n'
        'Acquire::https::Proxy::deb.test "http://b.test/";\n'
        'Acquire::http::Proxy-Auto-Detect "/bin/x";\n'
    )
    assert config.apt_proxies(dump) == ["http://a.test:3142/", "http://b.test/"]
