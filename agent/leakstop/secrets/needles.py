# SPDX-License-Identifier: MIT
"""Find any of many byte strings in one pass: the table that the kernel scans with.

Every needle has a *core*, the at most 64 bytes that are compared. Data is read only at
offsets that are multiples of ``stride``, 8 bytes at a time. For each core a window of
``stride`` consecutive positions is chosen, and the 8 bytes (the *gram*) at each of them
point to (needle, position): wherever the core lies, exactly one gram of its window falls on
a multiple of ``stride``. A gram that is in the table is then verified with the whole core.
So a scan costs one look-up every ``stride`` bytes, whatever the number of needles
(16 KiB in about 20 µs in the kernel at stride 8).

``NeedleTable.scan`` is the reference: ``bpf/`` does the same, step by step.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from leakstop.errors import UsageError
from leakstop.model.event import SecretHit
from leakstop.secrets.encodings import Needle, needles_of
from leakstop.secrets.inventory import Secret

MAX_NEEDLES = 2000
CORE_BYTES = 64
GRAM_BYTES = 8
MAX_CANDIDATES = 4
"""How many (needle, position) one gram may point to; the kernel's array is this long."""
STRIDES = (8, 4, 2, 1)

_LETTERS_AND_DIGITS = frozenset((string.ascii_letters + string.digits).encode())
_CORE_TRIES = 1024
"""How many places of a long value are compared: enough, and quick for 48 KiB, GitHub's limit."""
_DULL_VARIETY = 4
"""A gram of fewer different bytes (``AAAAAAAA``, ``--------``) is everywhere."""

Candidates = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class NeedleTable:
    """What the kernel is given. ``repr`` shows no bytes of a secret."""

    stride: int
    """8, 4, 2 or 1: distance of the offsets that are read."""
    cores: tuple[bytes, ...] = field(repr=False)
    """8 to 64 bytes each, all different."""
    owners: tuple[tuple[int, str], ...]
    """For each core the index of its secret in ``names``, and the encoding."""
    names: tuple[str, ...]
    """Names of the secrets, in the order in which they were declared."""
    grams: Mapping[int, Candidates] = field(repr=False)
    """Eight bytes as a little-endian number to at most 4 (needle, position in its core)."""

    def scan(self, data: bytes) -> tuple[SecretHit, ...]:
        """Return which secrets are in ``data``, in order of first sight, each encoding once."""
        hits: dict[SecretHit, None] = {}
        for offset in range(0, len(data) - GRAM_BYTES + 1, self.stride):
            gram = int.from_bytes(data[offset : offset + GRAM_BYTES], "little")
            for needle, position in self.grams.get(gram, ()):
                start = offset - position
                if start >= 0 and data.startswith(self.cores[needle], start):
                    owner, encoding = self.owners[needle]
                    hits[SecretHit(self.names[owner], encoding)] = None
        return tuple(hits)


def table_of(secrets: Sequence[Secret]) -> NeedleTable:
    """Build the table for ``secrets``; owners' indexes are positions in this sequence."""
    return build([needle for secret in secrets for needle in needles_of(secret)])


def build(needles: Iterable[Needle]) -> NeedleTable:
    """Choose cores, stride and grams.

    Two secrets with the same core (one value under two names) have one owner: the one that
    comes first, whose home then decides.

    Raises:
        UsageError: more than 2,000 needles, or so much alike that 4 candidates a gram do not do.
    """
    names: dict[str, int] = {}
    cores: dict[bytes, tuple[int, str]] = {}
    for needle in needles:
        owner = names.setdefault(needle.secret, len(names))
        cores.setdefault(core_of(needle.data), (owner, needle.encoding))
    if len(cores) > MAX_NEEDLES:
        raise UsageError(
            f"these secrets have {len(cores):,} forms; the limit is {MAX_NEEDLES:,}",
            why="each value counts in three encodings, and each line of a long one by itself",
            fix="declare only the secrets that this job uses",
        )
    for stride in STRIDES:
        grams = _index(list(cores), stride)
        if grams is not None:
            return NeedleTable(stride, tuple(cores), tuple(cores.values()), tuple(names), grams)
    raise UsageError(
        "these secrets are too much alike to be told apart",
        why=f"more than {MAX_CANDIDATES} of them are the same but for a few bytes",
        fix="declare only one of the secrets that begin and end alike",
    )


def core_of(data: bytes) -> bytes:
    """Return the at most 64 bytes of ``data`` that are compared."""
    start = core_start(data)
    return data[start : start + CORE_BYTES]


def core_start(data: bytes) -> int:
    """Where the 64 bytes with the most different letters and digits begin; the last of the best.

    Boilerplate repeats itself: ``{"type": "service_account"``, a token's JWT header, the
    first line of an OpenSSH key. The first 64 bytes of those are everybody's.
    """
    last = max(0, len(data) - CORE_BYTES)
    starts = range(0, last + 1, 1 + len(data) // _CORE_TRIES)

    def variety(start: int) -> int:
        return len(_LETTERS_AND_DIGITS.intersection(data[start : start + CORE_BYTES]))

    return max(starts, key=lambda start: (variety(start), start))


def _index(cores: Sequence[bytes], stride: int) -> dict[int, Candidates] | None:
    """Give each core a window of grams that are rare.

    ``None`` if a core is shorter than 8 + ``stride`` - 1 bytes or some gram gets too full.
    """
    grams_of = [_grams(core) for core in cores]
    common = Counter(gram for grams in grams_of for gram in grams)
    index: dict[int, list[tuple[int, int]]] = {}
    for needle, grams in enumerate(grams_of):
        for position in _windows(grams, common, stride):
            window = grams[position : position + stride]
            wanted = Counter(window)
            if all(len(index.get(g, ())) + n <= MAX_CANDIDATES for g, n in wanted.items()):
                break
        else:
            return None
        for step, gram in enumerate(window):
            index.setdefault(gram, []).append((needle, position + step))
    return {gram: tuple(candidates) for gram, candidates in index.items()}


def _windows(grams: Sequence[int], common: Mapping[int, int], stride: int) -> list[int]:
    """Start positions of the windows, the best first.

    Best is: no dull gram, none that other cores have too, and near the end, since what all
    tokens of a kind share (``ghp_``, ``github_pat_``, ``pypi-``) is at their beginning.
    """
    dull_cost = sum(common.values())
    costs = [common[gram] - 1 + (dull_cost if _is_dull(gram) else 0) for gram in grams]
    sums = [0, *accumulate(costs)]
    starts = range(len(grams) - stride + 1)
    return sorted(starts, key=lambda start: (sums[start + stride] - sums[start], -start))


def _grams(core: bytes) -> list[int]:
    return [
        int.from_bytes(core[start : start + GRAM_BYTES], "little")
        for start in range(len(core) - GRAM_BYTES + 1)
    ]


def _is_dull(gram: int) -> bool:
    return len(set(gram.to_bytes(GRAM_BYTES, "little"))) < _DULL_VARIETY
