# SPDX-License-Identifier: MIT
"""The same connect through a verdict in user space: an NFQUEUE, answered by Python (nfqueue.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.costs import connecting, print_compared
from bench.figures import heading
from bench.stage import HERE, PEER, QUEUED_PORT, Stage, policy_text, request
from bench.turns import Turn, take_turns

QUEUE = 7
OTHERS = tuple(f"198.51.100.{number}" for number in range(256))
"""Allowed as well, so that the far end is looked up among them."""
_SYN = ("OUTPUT", "-p", "tcp", "--syn", "--dport", str(QUEUED_PORT))
_RULE = (*_SYN, "-j", "NFQUEUE", "--queue-num", str(QUEUE))


def nfqueue(stage: Stage, rounds: int) -> None:
    """Compare the guard with the queue, and both with neither."""
    heading("connect with the guard, and with an NFQUEUE verdict in Python, against with neither")
    with ExitStack() as stack:
        bare = stack.enter_context(stage.worker())
        _, (guarded,) = stack.enter_context(stage.guarded(request(policy_text(len(OTHERS)))))
        try:
            stack.enter_context(_queue(stage))
        except OSError as error:
            print(f"  not measured: {error}", flush=True)
            return
        plain = Turn(bare, {**connecting(), "count": 200})
        judged = Turn(guarded, plain.order)
        queued = Turn(bare, {**connecting(QUEUED_PORT), "count": 200})
        pairs = [(plain, judged), (plain, queued), (judged, queued)]
        labels = ("guard", "NFQUEUE", "NFQUEUE against guard")
        print_compared("connect", list(zip(labels, take_turns(pairs, rounds), strict=True)))


@contextmanager
def _queue(stage: Stage) -> Iterator[None]:
    """Hold new connections to one port for a process to judge, in the lab's network only.

    Raises:
        OSError: this kernel has no such queues, or ``iptables`` cannot lead there.
    """
    command = [sys.executable, "-S", "-E", str(HERE / "nfqueue.py"), str(QUEUE)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ExitStack() as stack:
        process = stack.enter_context(stage.lab.popen(command, **pipes))
        stack.callback(process.kill)
        assert process.stdin is not None and process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("\n".join([PEER, *OTHERS]))
        process.stdin.close()
        if process.stdout.readline() != "ready\n":
            raise OSError(f"no queue: {process.stderr.read().strip().splitlines()[-1]}")
        _iptables(stage, "-A")
        stack.callback(_iptables, stage, "-D")
        yield


def _iptables(stage: Stage, action: str) -> None:
    command = ["iptables", action, *_RULE]
    done = stage.lab.job.call(lambda: subprocess.run(command, capture_output=True, text=True))
    if done.returncode:
        raise OSError(f"no rule that leads to the queue: {done.stderr.strip()}")
