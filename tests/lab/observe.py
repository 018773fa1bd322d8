# SPDX-License-Identifier: MIT
"""Runs a command under the portable sensor and prints what it saw, one event a line.

``observe.py [SECRET]... -- CMD [ARG]...``; values of secrets are in the environment. With
``--packets`` in front it looks only when it hears a packet. A program of its own, because the
sensor watches the namespaces and the descendants of its process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from leakstop.model.codec import event_to_json
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import NamePlace, Policy, PortRange, Protocol, Rule
from leakstop.policy.tables import compile_tables
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of
from leakstop.sensor.locals import read_networks
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.portable import INTERVAL_S, PortableSensor
from leakstop.sensor.resolvers import read_trusted


def main(names: Sequence[str], command: Sequence[str], *, packets: bool) -> int:
    """Observe ``command``; home.test is the only host that is named."""
    known = tuple(Secret(name, os.environb[name.encode()]) for name in names)
    ref = RuleRef("home.test", "policy.yml")
    home = Rule(Action.ALLOW, NamePlace("home.test"), Protocol.TLS, (PortRange(443, 443),), ref)
    policy = Policy(rules=(home,))
    sensor = PortableSensor(
        GuardPlan(
            policy=policy,
            tables=compile_tables(policy),
            secrets=known,
            needles=table_of(known),
            scope="command",
            cgroup=None,
            run_dir=Path("/nonexistent"),
            resolvers=read_trusted(),
            local=read_networks(),
            root_pid=os.getpid(),
        )
    )
    sensor.start()
    if packets:
        sensor._next_look_s = float("inf")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    last = False
    while not last:
        last = process.poll() is not None
        if last:
            time.sleep(INTERVAL_S)
        for event in sensor.poll(INTERVAL_S):
            print(json.dumps(event_to_json(event)), flush=True)
    sensor.close()
    return process.returncode


if __name__ == "__main__":
    split = sys.argv.index("--")
    secrets = [name for name in sys.argv[1:split] if name != "--packets"]
    sys.exit(main(secrets, sys.argv[split + 1 :], packets="--packets" in sys.argv[:split]))
