# SPDX-License-Identifier: MIT
"""Runs in the job: ``python -m bypass.send SENDER TO PORT DATA FRIEND [HELD]``.

Prints how the attempt ended, as one JSON object: the name of the error (empty for none), and
how long it took until the sender knew.
"""

from __future__ import annotations

import errno
import json
import sys
import time

from bypass.case import Parcel
from bypass.senders import SENDERS


def main(name: str, to: str, port: str, data: str, friend: str, held: str = "") -> None:
    """Send, and say how it went."""
    parcel = Parcel(to, int(port), data.encode(), friend, held)
    error = ""
    try:
        SENDERS[name](parcel)
    except OSError as refused:
        error = errno.errorcode.get(refused.errno or 0, str(refused))
    print(json.dumps({"error": error, "seconds": time.monotonic() - parcel.begun}))


if __name__ == "__main__":
    main(*sys.argv[1:])
