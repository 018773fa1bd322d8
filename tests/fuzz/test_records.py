# SPDX-License-Identifier: MIT
"""Records of the kernel whose sizes, counts and numbers lie."""

from __future__ import annotations

import contextlib
import ctypes
from random import Random

from fuzz.mutate import bend, fuzz
from leakstop.bpf import records
from leakstop.model.codec import event_from_json, event_to_json
from leakstop.secrets.encodings import Needle
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import build
from leakstop.sensor.decode import Decoder

KINDS: dict[records.Kind, type[ctypes.Structure]] = {
    records.Kind.FORK: records.EventFork,
    records.Kind.EXEC: records.EventExec,
    records.Kind.EXIT: records.EventExit,
    records.Kind.CONNECT: records.EventConnect,
    records.Kind.QUESTION: records.EventQuestion,
    records.Kind.ANSWER: records.EventAnswer,
    records.Kind.STREAM: records.EventStream,
}
NUMBERS = [bytes((number,)) * size for number in (0, 1, 3, 9, 64, 255) for size in (1, 2, 4, 8)]


def test_records_of_every_kind() -> None:
    value = b"a made-up value"
    decoder = Decoder(build([Needle(value, "TOKEN", "raw")]), Masker((Secret("TOKEN", value),)))

    def take(random: Random) -> None:
        kind, struct = random.choice(list(KINDS.items()))
        whole = bytes(int(kind).to_bytes(4, "little")) + bytes(ctypes.sizeof(struct) - 4)
        data = whole[:4] + bend(random, [whole[4:]], NUMBERS)
        data = data[: random.choice((4, 16, 24, 40, 200, len(data), len(data)))]
        # What lies behind a record is another one: it must not be read as part of this one.
        memory = ctypes.create_string_buffer(data + b"\xa5" * 8192)
        with contextlib.suppress(ValueError):
            event = decoder.decode(ctypes.addressof(memory), len(data))
            assert event_from_json(event_to_json(event)) == event
            assert "\\xa5\\xa5" not in ascii(event) and "a5a5" not in ascii(event)

    fuzz("records", 6_000, take)
