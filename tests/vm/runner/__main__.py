# SPDX-License-Identifier: MIT
"""Runs all checks, in the order in which the files have them, and prints a line for each."""

from __future__ import annotations

import sys
import time
import traceback

from vm.runner import attacks, jobs, rights, self_hosted
from vm.runner.machine import Machine

FILES = (jobs, rights, attacks, self_hosted)
"""What has checks: functions whose names begin with ``check_``, which take the machine."""


def main() -> int:
    """Run all checks; 0 if all passed."""
    results: list[bool] = []
    with Machine() as machine:
        found = [item for file in FILES for item in vars(file).items()]
        for name, check in [item for item in found if item[0].startswith("check_")]:
            began = time.monotonic()
            try:
                passed = bool(check(machine))
            except Exception:  # noqa: BLE001 - one failed check must not hide the others
                traceback.print_exc(file=sys.stdout)
                passed = False
            if not passed:
                print(machine.log)
                machine.log = ""
            results.append(passed)
            took = f"({time.monotonic() - began:.0f} s)"
            print("ok  " if passed else "FAIL", name.removeprefix("check_"), took, flush=True)
    print(f"{results.count(True)} passed, {results.count(False)} failed", flush=True)
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
