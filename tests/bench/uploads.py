# SPDX-License-Identifier: MIT
"""What it costs to look at every byte before TLS encrypts it, beside a proxy that breaks TLS."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product

from bench.costs import in_kernel, looking_up, print_compared
from bench.figures import heading
from bench.peer import SINK
from bench.stage import NAMED, PEER, Stage, host_name, made_up_secrets, policy_text, request
from bench.turns import Order, Turn, take_turns

SECRETS = (10, 500)
PROXY_PORT = 8080
PROMISED = (1 << 20, 1 << 14)
"""Bytes of the writes for which a rate is promised."""
WRITES = {"1 MiB": 1 << 20, "64 KiB": 1 << 16, "16 KiB": 1 << 14, "1 KiB": 1 << 10}


def uploading(size: int, *, http2: bool = False) -> Order:
    """A MiB at a time to a host that the policy names."""
    parts = {"work": "upload", "size": size, "parts": 16, "count": 1, "http2": http2}
    return {**parts, "address": NAMED, "port": SINK, "sni": [host_name(0)]}


def uploads(stage: Stage, rounds: int) -> None:
    """TLS with and without the guard, by size of the writes and number of secrets."""
    with ExitStack() as stack:
        bare = stack.enter_context(stage.worker())
        guards, workers = [], []
        for number in SECRETS:
            armed = request(policy_text(10), made_up_secrets(number))
            guard, (worker, *_) = stack.enter_context(stage.guarded(armed))
            worker.do(**looking_up(10), count=4)
            guards.append(guard)
            workers.append(worker)
        labels = [f"{number} secrets" for number in SECRETS]
        heading("A MiB of random data within TLS, with the guard against without (block mode)")
        orders = {
            f"in writes of {written}{' of HTTP/2' if http2 else ''}": uploading(size, http2=http2)
            for (written, size), http2 in product(WRITES.items(), (False, True))
        }
        for what, order in orders.items():
            pairs = [(Turn(bare, order), Turn(worker, order)) for worker in workers]
            compared = take_turns(pairs, rounds)
            print_compared(what, list(zip(labels, compared, strict=True)))
        order = {**uploading(1), "work": "first write", "count": 30, "parts": 1}
        pairs = [(Turn(bare, order), Turn(worker, order)) for worker in workers]
        compared = take_turns(pairs, rounds)
        print_compared("first write of a connection", list(zip(labels, compared, strict=True)))
        promised = {what: order for what, order in orders.items() if order["size"] in PROMISED}
        in_kernel(labels, guards, workers, [promised] * len(workers))
        with _proxy(stage) as proxied:
            if proxied:
                order = uploading(1 << 20)
                behind = f"{NAMED}:{SINK}"
                through = {**order, "address": PEER, "port": PROXY_PORT, "proxy_to": behind}
                pairs = [(Turn(bare, order), Turn(workers[0], order))]
                pairs += [(Turn(bare, order), Turn(bare, through))]
                compared = take_turns(pairs, max(1, rounds // 2))
                names = ["with the guard", "through mitmproxy"]
                print_compared("in writes of 1 MiB", list(zip(names, compared, strict=True)))


@contextmanager
def _proxy(stage: Stage) -> Iterator[bool]:
    """A proxy that breaks TLS, where the workers reach it; ``False`` if it is not installed."""
    program = shutil.which("mitmdump")
    if program is None:
        print("  mitmproxy is not installed: pip install mitmproxy")
        yield False
        return

    def begin() -> subprocess.Popen[bytes]:
        home = stage.lab.directory / "mitmproxy"
        command = [program, "--quiet", "--ssl-insecure", "--set", f"confdir={home}"]
        command += ["--listen-host", PEER, "--listen-port", str(PROXY_PORT)]
        # Nobody has to read what it holds back: it passes each piece on.
        command += ["--set", "stream_large_bodies=1", "--set", "connection_strategy=lazy"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    with stage.lab.services.call(begin) as process:
        try:
            _wait_until_it_listens(stage)
            yield True
        finally:
            process.terminate()


def _wait_until_it_listens(stage: Stage) -> None:
    probe = (
        "import socket, time\n"
        "for _ in range(300):\n"
        f"    if not socket.socket().connect_ex(('{PEER}', {PROXY_PORT})): break\n"
        "    time.sleep(0.1)\n"
        "else: raise SystemExit('nobody listens')\n"
    )
    stage.lab.run([sys.executable, "-c", probe], timeout_s=60)
