# SPDX-License-Identifier: MIT
"""The cases, by family. A sender is ordinary code: it does not know whether it is guarded."""

from bypass.case import CASES, SENDERS
from bypass.senders import (
    datagrams,
    echoes,
    hands,
    links,
    masks,
    reuses,
    rings,
    routes,
    streams,
    writers,
)

__all__ = [
    "CASES",
    "SENDERS",
    "datagrams",
    "echoes",
    "hands",
    "links",
    "masks",
    "reuses",
    "rings",
    "routes",
    "streams",
    "writers",
]
