# SPDX-License-Identifier: MIT
"""``python -m leakstop``, and ``python -I …/leakstop/__main__.py`` from a plain checkout."""

from __future__ import annotations

import sys

if not __package__:
    # Run as a file with -I, which puts nothing on the path: the package is one folder up, and
    # beside it what the action brings along (cli/dependencies.py).
    from pathlib import Path

    folder = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(folder), str(folder / "vendor")]

from leakstop.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
