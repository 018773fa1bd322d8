# SPDX-License-Identifier: MIT
"""What a TCP stream shows of itself, in words."""

from __future__ import annotations

from leakstop.model.flow import Stream


def shows(stream: Stream, shown: str) -> str:
    """Say what a stream shows that a rule for a name does not accept, as a part of a sentence.

    The name itself is observed text: it is left to the destination, which every output escapes.
    """
    if stream is Stream.HIDDEN:
        return "it hides its name (ECH)"
    if stream is Stream.OTHER:
        return "it is neither TLS nor HTTP"
    spoken = "TLS" if stream is Stream.TLS else "plain HTTP"
    return f"it is {spoken} to that name" if shown else f"it is {spoken} that shows no name"


__all__ = ["shows"]
