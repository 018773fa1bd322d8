# SPDX-License-Identifier: MIT
"""A secret goes to its home in TLS while its process is connected with others, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Lab
from lab.guard import Guarded
from lab.network import HOME
from lab.tokens import Token

pytestmark = pytest.mark.root

CLIENT = """\
import os, socket, ssl, sys

def connect(host, family=0, name=None):
    found = socket.getaddrinfo(host, 443, family, socket.SOCK_STREAM)[0]
    made = socket.socket(found[0])
    made.connect(found[4])
    return context.wrap_socket(made, server_hostname=name or host)

context = ssl.create_default_context(cafile=os.environ["CA"])
context.check_hostname = False
others = connect("other.test"), socket.create_connection(("other.test", 80))
server = socket.create_server(("127.0.0.1", 0))
log = socket.create_connection(server.getsockname())
log.sendall(b"begins")
home = connect("home.test", int(sys.argv[1]), sys.argv[2])
fields = "GET / HTTP/1.1", "Host: home.test", "X-Token: " + os.environ["TOKEN"], "", ""
home.sendall("\\r\\n".join(fields).encode())
home.recv(1)
"""
IPV4, IPV6 = HOME
CASES = {
    "name": ("home.test", 2, "home.test"),
    "name-over-ipv6": ("home.test", 10, "home.test"),
    "name-in-capitals": ("home.test", 2, "HOME.test"),
    "port": ("home.test:443", 2, "home.test"),
    "tcp": ("tcp://home.test:443", 2, "home.test"),
    "address": (IPV4, 2, "home.test"),
    "ipv6-address": (f"[{IPV6}]", 10, "home.test"),
}


@pytest.mark.parametrize("case", CASES)
def test_its_home_gets_it(
    lab: Lab, leakstop: Callable[..., Guarded], secret: Token, case: str
) -> None:
    home, family, name = CASES[case]
    client = lab.directory / "client.py"
    client.write_text(CLIENT)
    run = leakstop(
        ["/usr/bin/python3", str(client), str(family), name],
        mode="audit",
        policy=f"""version: 1
allow: [home.test, other.test, "http://other.test"]
secrets: {{{secret.name}: "{home}"}}
""",
        secrets=[secret],
        env={"TOKEN": secret.value, "CA": str(lab.directory / "ca.pem")},
    )
    assert lab.home.bytes_of(secret.value.encode()) == len(secret.value), run.stderr
    assert (run.code, run.findings(), run.events("write")) == (0, [], []), run.stderr
