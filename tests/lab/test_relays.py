# SPDX-License-Identifier: MIT
"""A relay on loopback: whoever sent through it is named beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab
from lab.guard import DENIED, Guarded
from lab.network import BARE

pytestmark = pytest.mark.root

RELAY = """
import os, socket, sys
here, forks = sys.argv[1], sys.argv[2] == "forks"
server = socket.create_server((here, 0), family=socket.AF_INET6 if ":" in here else socket.AF_INET)
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
if forks and os.fork():
    os.wait()
    sys.exit()
try:
    out = socket.create_connection((BARE, 80), 5)
    out.sendall(connection.recv(4096))
except OSError as error:
    print(error)
connection.close()
"""
STEP = """
mkfifo port
python=$1; shift
"$python" relay.py "$@" > port &
read port < port
curl -s -m 5 "http://$HERE:$port/" || true
wait
"""


@pytest.mark.parametrize("forks", ["", "forks"])
@pytest.mark.parametrize(("listens", "here"), [("127.0.0.1", "127.0.0.1"), ("::", "[::1]")])
@pytest.mark.parametrize("mode", ["audit", "block"])
def test_both_ends_are_named(
    lab: Lab, leakstop: Callable[..., Guarded], mode: str, listens: str, here: str, forks: str
) -> None:
    (lab.directory / "relay.py").write_text(RELAY.replace("BARE", repr(BARE)))
    step = f"cd {lab.directory} || exit 9{STEP}"
    command = ["sh", "-c", step, "sh", sys.executable, listens, forks]
    run = leakstop(command, mode=mode, env={"HERE": here})
    (flow,) = [flow for flow in run.report["flows"] if flow["ip"] == BARE]
    assert Path(flow["process"]["exe"]).name.startswith("python")
    assert Path(flow["relayed_for"]["exe"]).name == "curl"
    assert flow["relayed_for"]["pid"] != flow["process"]["pid"]
    local = [flow for flow in run.report["flows"] if flow["reason"] == "local"]
    assert local and not any(flow["relayed_for"] for flow in local)
    if mode == "block":
        assert run.code == DENIED
        (finding,) = run.findings("denied-flow")
        assert "It may have been sent for curl (pid " in finding["action_taken"]
        assert f"{BARE}:80, wanted by python" in run.stderr
        assert ", perhaps for curl" in run.stderr
