# SPDX-License-Identifier: MIT
"""What a whole build costs under the guard: many processes, many files, no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.costs import NOISE, print_compared
from bench.figures import Compared, heading
from bench.stage import Stage, made_up_secrets, policy_text, request
from bench.turns import PAUSE_S
from lab import cgroup

SECRETS = 10

PYTHON = f"""\
{sys.executable} -m venv --clear env
env/bin/python -m compileall -qf env/lib
env/bin/python -m pip --disable-pip-version-check list
for module in json csv email html http logging unittest; do env/bin/python -c "import $module"; done
"""
NODE = """\
mkdir -p pkg && cd pkg
echo '{"name": "pkg", "version": "1.0.0", "scripts": {"build": "node build.js"}}' > package.json
echo 'const {execFileSync: run} = require("child_process")' > build.js
echo 'for (const part of ["1", "2", "3"]) run(process.execPath, ["-e", part])' >> build.js
echo 'require("node:test")("adds", () => { if (1 + 1 !== 2) throw 1 })' > pkg.test.js
npm --offline --no-audit --no-fund pack
npm --offline --no-audit --no-fund install --prefix ../installed ./pkg-1.0.0.tgz
npm --offline run build
node --test
"""


def builds(stage: Stage, rounds: int) -> None:
    """A Python build and a node build, with the guard against without."""
    scripts = {"Python": PYTHON, **({"node": NODE} if shutil.which("npm") else {})}
    with ExitStack() as stack:
        bare = [stack.enter_context(cgroup.child()) for _ in range(2)]
        armed = request(policy_text(10), made_up_secrets(SECRETS))
        guard, _ = stack.enter_context(stage.guarded(armed, workers=0))
        heading(f"A build with the guard against without (block mode, {SECRETS} secrets)")
        for name, script in scripts.items():
            groups = {"bare": bare[0], NOISE: bare[1], "with the guard": guard.group}
            took = _take_turns(stage, groups, script, max(3, rounds))
            rows = [
                (label, Compared.of(took["bare"], took[label]))
                for label in (NOISE, "with the guard")
            ]
            print_compared(name, rows)
        print(f"  events lost: {guard.report().coverage.lost_events}", flush=True)


def _take_turns(
    stage: Stage, groups: Mapping[str, Path], script: str, rounds: int
) -> dict[str, list[float]]:
    """Microseconds of each run, by group; who begins changes from round to round."""
    took: dict[str, list[float]] = {label: [] for label in groups}
    order = list(groups)
    for _ in range(rounds):
        for label in order:
            began = time.perf_counter()
            _run(stage, groups[label], script)
            took[label].append((time.perf_counter() - began) * 1e6)
            time.sleep(PAUSE_S)
        order.append(order.pop(0))
    return took


def _run(stage: Stage, group: Path, script: str) -> None:
    place = stage.lab.directory / f"build-{group.name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    done = stage.lab.popen(
        cgroup.command_in(group, ["sh", "-euc", f"cd {place}\n{script}"]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, said = done.communicate(timeout=300)
    if done.returncode:
        raise RuntimeError(f"the build failed: {said}")
