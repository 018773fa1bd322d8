# SPDX-License-Identifier: MIT
"""What is inside of what was sent: encodings, compression and framing taken off, layer by layer.

``unwrap`` yields the data and everything in it, each with the way there. An *opener* takes one
kind of wrapping off, wherever in its data it is found: a token in base64 in a gzip member in a
tar in a form is met without reading the tar, and a stream that is cut in the middle gives what
its beginning holds.

Hostile input is the rule here. Whatever is made counts against one allowance for the whole
look, so bombs, lying lengths and nests end there; openers take time in proportion to their
data; none of them raises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from leakstop.secrets.inventory import MIN_BYTES
from leakstop.secrets.unwrap import http1, http2, packed, split, text

DEPTH = 3
"""Encodings within each other. What needles find in the innermost layer is one more."""
ROOM = 2 << 20
"""Bytes that are made in one look."""

_FRAMES = frozenset((http1.CHUNKED, http2.HTTP2, split.SPLIT))
"""How something is carried hides nothing, so it is no encoding; but each is taken off once."""
_OPENERS = (http2.messages, http1.bodies, packed.members)
_TEXT_OPENERS = (text.base64_runs, text.hex_runs, text.percent, text.escapes, split.values)
_SHARE = 2
"""Of what is left of the room, one opener makes at most half: behind a bomb there is still
something to be seen."""
_LEAST = 256
"""What the smallest layer takes of the room, for the time that it costs."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Something that was inside of something else."""

    path: tuple[str, ...]
    """What it was wrapped in, the outermost first; empty for the data itself."""
    data: bytes = field(repr=False)

    @property
    def encodings(self) -> int:
        """How many of ``path`` hide what they hold."""
        return sum(word not in _FRAMES for word in self.path)


def unwrap(data: bytes, *, room: int = ROOM) -> Iterator[Layer]:
    """Yield ``data`` and what is in it, up to three encodings deep, the outer layers first."""
    waiting = deque([Layer((), data)])
    seen = {data}
    while waiting:
        layer = waiting.popleft()
        yield layer
        if layer.encodings >= DEPTH:
            continue
        # A request is text, whatever its body is.
        as_text = not layer.path or layer.path[-1] in _FRAMES or text.is_text(layer.data)
        for opener in (*_OPENERS, *(_TEXT_OPENERS if as_text else ())):
            for word, inner in opener(layer.data, max(0, room) // _SHARE):
                if word in _FRAMES and word in layer.path:
                    continue
                if room > 0 and len(inner) >= MIN_BYTES and inner not in seen:
                    room -= max(len(inner), _LEAST)
                    seen.add(inner)
                    waiting.append(Layer((*layer.path, word), inner))


__all__ = ["DEPTH", "ROOM", "Layer", "unwrap"]
