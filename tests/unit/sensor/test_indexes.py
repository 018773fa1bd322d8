# SPDX-License-Identifier: MIT
"""Package managers are asked; here they are scripts that answer with names of our own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leakstop.errors import PolicyError
from leakstop.sensor import indexes
from leakstop.sensor.indexes import Resolved, destination, proxy_destination

Answer = Callable[..., Resolved]


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str, str], None]:
    """Installs a program that is a shell script, on a path that holds nothing else."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()

    def install(name: str, script: str) -> None:
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


@pytest.fixture
def ask(tmp_path: Path) -> Answer:
    """Asks on that machine."""

    def resolve(*words: str, timeout_s: float = 10.0, **variables: str) -> Resolved:
        environ = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home"), **variables}
        return indexes.resolve_with_notes(frozenset(words), timeout_s=timeout_s, environ=environ)

    return resolve


def pip(config: str = "", default: str = "https://index.test/simple\nhttps://files.test") -> str:
    """A python3 with pip."""
    return f"""case "$1" in
        -m) /bin/cat <<'END'
{config}
END
        ;;
        -c) /bin/cat <<'END'
{default}
END
        ;;
    esac"""


def test_pip_without_configuration_is_its_default_and_file_host(machine, ask):
    machine("python3", pip())
    assert ask("registry:pip").destinations == {
        "registry:pip": ("https://index.test:443", "https://files.test:443")
    }


def test_a_configured_index_comes_first_and_the_default_stays(machine, ask):
    machine(
        "python3",
        pip(
            "global.index-url='https://user:hidden@mirror.test:8443/simple'\n"
            "install.extra-index-url='\\nhttps://extra.test/simple\\nfile:///srv/index'\n"
            "site.find-links='/srv/wheels http://links.test/'\n"
            "global.timeout='10'"
        ),
    )
    assert ask("registry:pip").destinations["registry:pip"] == (
        "https://mirror.test:8443",
        "https://extra.test:443",
        "http://links.test:80",
        "https://index.test:443",
        "https://files.test:443",
    )


def test_no_credential_of_an_index_comes_out(machine, ask):
    machine("python3", pip("global.index-url='https://user:hidden@mirror.test/simple?t=hidden'"))
    assert "hidden" not in repr(ask("registry:pip", "publish:pip"))


def test_pip_of_another_interpreter_is_asked_through_that_one(machine, ask, tmp_path):
    machine("python3", "exit 1")
    machine("other-python", pip())
    (tmp_path / "bin" / "pip").write_text(f"#!{tmp_path}/bin/other-python\n")
    (tmp_path / "bin" / "pip").chmod(0o755)
    assert ask("registry:pip").destinations["registry:pip"][0] == "https://index.test:443"


def test_uv_is_heard_as_well(machine, ask, tmp_path):
    machine("python3", pip())
    config = tmp_path / "home/.config/uv/uv.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        'extra-index-url = ["https://a.test/simple"]\n[[index]]\nurl = "https://b.test/simple"\n'
    )
    found = ask("registry:pip", UV_INDEX="named=https://c.test/simple https://d.test/")
    # tomllib came with 3.11; before it, the file is said to be unread.
    read = ("a", "b", "c", "d") if sys.version_info >= (3, 11) else ("c", "d")
    assert {f"https://{name}.test:443" for name in read} <= {*found.destinations["registry:pip"]}
    assert any("uv's configuration file" in note for note in found.notes) == (len(read) == 2)


def test_npm_registries_of_scopes_and_the_proxy(machine, ask):
    settings = {
        "registry": "https://npm.test/",
        "@acme:registry": "http://acme.test:4873/npm",
        "https-proxy": "http://user:hidden@proxy.test:3128",
        "proxy": None,
        "noproxy": [""],
    }
    machine("npm", f"/bin/cat <<'END'\n{json.dumps(settings)}\nEND")
    expected = ("https://npm.test:443", "http://acme.test:4873", "tcp://proxy.test:3128")
    found = ask("registry:npm", "publish:npm").destinations
    assert found == {"registry:npm": expected, "publish:npm": expected}


def test_apt_keeps_the_scheme_of_its_sources(machine, ask, tmp_path):
    mirrors = tmp_path / "mirrors.txt"
    mirrors.write_text(
        "# comment\nhttp://near.test/debian/\tpriority:1\nhttps://far.test/debian/\n"
    )
    machine(
        "apt-get",
        f"""/bin/cat <<'END'
http://deb.test/debian/
http://deb.test/debian/
mirror+file:{mirrors}/
file:/srv/packages/
END""",
    )
    machine("apt-config", """echo 'Acquire::http::Proxy "http://cache.test:3142/";'""")
    assert ask("registry:apt").destinations["registry:apt"] == (
        "http://deb.test:80",
        "http://near.test:80",
        "https://far.test:443",
        "tcp://cache.test:3142",
    )


def test_a_proxy_of_the_environment_counts(machine, ask):
    machine("npm", """echo '{"registry": "https://npm.test/"}'""")
    found = ask("registry:npm", https_proxy="proxy.test:8080", ALL_PROXY="socks5h://socks.test")
    assert found.destinations["registry:npm"] == (
        "https://npm.test:443",
        "tcp://proxy.test:8080",
        "tcp://socks.test:1080",
    )


@pytest.mark.parametrize(
    "variable",
    [{"TWINE_REPOSITORY_URL": "https://up.test/"}, {"UV_PUBLISH_URL": "https://up.test"}],
)
def test_uploads_go_where_the_uploader_is_told(machine, ask, variable):
    machine("python3", pip())
    assert ask("publish:pip", **variable).destinations["publish:pip"] == ("https://up.test:443",)


def test_uploads_of_pypirc(machine, ask, tmp_path):
    machine("python3", pip())
    pypirc = tmp_path / "home/.pypirc"
    pypirc.write_text("[distutils]\nindex-servers = a\n[a]\nrepository = https://up.test/legacy/\n")
    assert ask("publish:pip").destinations["publish:pip"] == ("https://up.test:443",)
    pypirc.write_text("[a]\nrepository = https://up.test/\n[default]\npassword = x\n")
    assert ask("publish:pip").destinations["publish:pip"] == (
        "https://up.test:443",
        "https://**.index.test:443",
    )


def test_uploads_without_configuration_are_near_the_index(machine, ask):
    machine("python3", pip("global.index-url='https://mirror.corp.test/simple'"))
    assert ask("publish:pip").destinations["publish:pip"] == (
        "https://mirror.corp.test:443",
        "https://**.index.test:443",
    )


def test_a_missing_manager_names_nothing_and_says_so(ask):
    found = ask("registry:npm")
    assert found.destinations == {"registry:npm": ()}
    assert found.notes == (
        "npm is not installed here.",
        "`registry:npm` names no host on this machine.",
    )


def test_a_failing_manager_is_a_note(machine, ask):
    machine("npm", "echo https://user:hidden@npm.test >&2; exit 7")
    found = ask("registry:npm")
    assert found.destinations == {"registry:npm": ()}
    assert "npm could not say its hosts (exit 7)." in found.notes
    assert "hidden" not in repr(found)


def test_a_manager_that_hangs_is_stopped_with_all_below_it(machine, ask, tmp_path):
    # As a version manager's shim: a shell that waits for another process, which holds the pipe.
    machine("npm", f"/bin/sh -c 'echo $$ > {tmp_path}/pid; exec /bin/sleep 60'; true")
    found = ask("registry:npm", timeout_s=0.5)
    assert "npm did not say its hosts within 0.5 s." in found.notes
    inner = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{inner}/exe").exists()


def test_who_is_interrupted_leaves_no_manager_behind(machine, ask, tmp_path, monkeypatch):
    machine("npm", f"echo $$ > {tmp_path}/pid; exec /bin/sleep 60")

    def interrupted(*_, **__):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.001)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask("registry:npm")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_who_is_told_to_end_as_it_starts_one_leaves_nothing_behind(
    machine, ask, tmp_path, monkeypatch
):
    started = []
    start = indexes._start

    def told_to_end(*arguments):
        started.append(start(*arguments))
        # To this thread: a test runner's other ones do not hold signals back as it does.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return started[-1]

    machine("npm", "exec /bin/sleep 60")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(indexes, "_start", told_to_end)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with pytest.raises(SystemExit):
            ask("registry:npm")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_questions_run_at_the_same_time(machine, ask, tmp_path):
    meet = "echo > {0}/{1}; until [ -e {0}/{2} ]; do /bin/sleep 0.01; done; "
    machine(
        "npm", meet.format(tmp_path, "npm", "apt") + """echo '{"registry": "https://n.test"}'"""
    )
    machine("apt-get", meet.format(tmp_path, "apt", "npm") + "echo http://a.test/")
    machine("apt-config", "true")
    found = ask("registry:npm", "registry:apt", timeout_s=5)
    assert found.destinations == {
        "registry:npm": ("https://n.test:443",),
        "registry:apt": ("http://a.test:80",),
    }


def test_only_the_managers_that_a_policy_names_are_asked(machine, ask, tmp_path):
    machine("npm", """echo '{"registry": "https://npm.test/"}'""")
    machine("apt-get", f"echo > {tmp_path}/asked")
    machine("python3", f"echo > {tmp_path}/asked")
    ask("registry:npm")
    assert not (tmp_path / "asked").exists()


def test_they_are_asked_in_an_empty_directory_that_is_its_own_project(machine, ask, tmp_path):
    machine("npm", f"pwd > {tmp_path}/where; /bin/ls -A > {tmp_path}/holds; echo '{{}}'")
    ask("registry:npm")
    where = Path((tmp_path / "where").read_text().strip())
    assert where != Path.cwd()
    assert not where.exists(), "it is removed afterwards"
    assert (tmp_path / "holds").read_text() == "package.json\n"


def test_an_unknown_manager_is_an_error():
    with pytest.raises(PolicyError, match="registry:cargo"):
        indexes.resolve(frozenset({"registry:cargo"}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://A.Test/simple", "https://a.test:443"),
        ("http://a.test./", "http://a.test:80"),
        ("https://u:p@a.test:8443/x?y#z", "https://a.test:8443"),
        ("https://[2001:db8::1]/", "https://[2001:db8::1]:443"),
        ("https://192.0.2.1:81/", "https://192.0.2.1:81"),
        ("https://bücher.test/", "https://xn--bcher-kva.test:443"),
        ("file:///srv/index", None),
        ("/srv/wheels", None),
        ("", None),
        ("https:///simple", None),
        ("https://a.test:port/", None),
        ("https://[2001:db8::1/", None),
        ("https://${HOST}/simple", None),
        ("https://*.test/", None),
        ("ssh://a.test/", None),
    ],
)
def test_destination(url, expected):
    assert destination(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("proxy.test:3128", "tcp://proxy.test:3128"),
        ("http://user:pass@proxy.test", "tcp://proxy.test:80"),
        ("socks5h://proxy.test", "tcp://proxy.test:1080"),
        ("ftp://proxy.test", None),
    ],
)
def test_proxy_destination(url, expected):
    assert proxy_destination(url) == expected
