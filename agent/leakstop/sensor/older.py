# SPDX-License-Identifier: MIT
"""Sockets that were open before the guard: noted, and those of the machine's services trusted.

A socket of the job is judged like any other. Whose it is says ``seeds``, which comes first.
"""

from __future__ import annotations

from leakstop.bpf.libbpf import Object


def note_sockets(opened: Object) -> None:
    """Give every socket of the machine that has none a note; new ones must get theirs already."""
    link = opened.attach("on_older")
    try:
        link.iterate()
    finally:
        link.close()


__all__ = ["note_sockets"]
