# SPDX-License-Identifier: MIT
"""A client that loads the TLS library whose file it is told: ``CLIENT LIBRARY HOST``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LIBSSL = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/libssl.so.3")
"""The distribution's."""


def build(program: Path) -> Path:
    """Make it; it sends ``$SECRET``."""
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-O1", "-o", program, source, "-ldl"], check=True)
    return program


__all__ = ["LIBSSL", "build"]
