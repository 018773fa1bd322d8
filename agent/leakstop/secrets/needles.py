# SPDX-License-Identifier: MIT
"""Find any of many byte strings in one pass: the table that the kernel scans with.

Every needle has a *core*, the at most 64 bytes that are compared. Data is read only at
offsets that are multiples of ``stride``, 8 bytes at a time. For each core a window of
``stride`` consecutive positions is chosen, and the 8 bytes (the *gram*) at each of them
point to (needle, position): wherever the core lies, exactly one gram of its window falls on
a multiple of ``stride``. A gram that is in the table is then verified with the whole core.
So a scan costs one look-up every ``stride`` bytes, whatever the number of needles, and the
shortest core decides how far apart they may be.

``NeedleTable.scan`` is the reference: ``bpf/`` does the same, step by step.
"""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain
from struct import unpack_from

from leakstop.errors import UsageError
from leakstop.model.event import SecretHit
from leakstop.secrets.cores import CORE_BYTES
from leakstop.secrets.encodings import Needle, needles_of
from leakstop.secrets.inventory import Secret

MAX_NEEDLES = 60_000
"""1,000 secrets have about 40,000; the kernel's numbers of needles have 16 bits."""
GRAM_BYTES = 8
MAX_CANDIDATES = 4
"""How many (needle, position) one gram may point to; the kernel's array is this long."""
MAX_STRIDE = 16
"""More would not be worth the memory: that many grams has each core."""

_DULL_VARIETY = 4
"""A gram of fewer different bytes (``AAAAAAAA``, ``--------``) is everywhere."""
_TAIL = 24
"""So many grams at a core's end are tried before all of them."""
_DULL_COST = 8 * CORE_BYTES * MAX_NEEDLES
"""More than any window of grams that are only shared."""
_AT_ONCE = 32 * 1024
"""Bytes of which a scan makes words at a time: these stay in the processor's cache."""
_SIEVE_STRIDES = (16, 8, 4, 2, 1)
_LEAST_FORM = 15
"""Bytes of a form for whose sake data is read more often, if there is no shorter value."""

Candidates = tuple[tuple[int, int], ...]
Grams = Mapping[int, Candidates]


@dataclass(frozen=True)
class NeedleTable:
    """What the kernel is given. ``repr`` shows no bytes of a secret."""

    stride: int
    """1 to 16: distance of the offsets that are read."""
    cores: tuple[bytes, ...] = field(repr=False)
    """8 to 64 bytes each, all different."""
    owners: tuple[tuple[int, str], ...]
    """For each core the index of its secret in ``names``, and the encoding."""
    starts: tuple[int, ...]
    """For each core where it stands in the text of which it is a part."""
    names: tuple[str, ...]
    """Names of the secrets, in the order in which they were declared."""
    grams: Grams = field(repr=False)
    """Eight bytes as a little-endian number to at most 4 (needle, position in its core)."""

    @property
    def shortest(self) -> int:
        """Cores of fewer bytes do not contain a gram at every alignment."""
        return GRAM_BYTES + self.stride - 1

    @property
    def longest(self) -> int:
        """A piece of data that keeps so many bytes less one of the one before misses nothing."""
        return max(map(len, self.cores), default=0)

    def scan(self, data: bytes) -> tuple[SecretHit, ...]:
        """Return which secrets are in ``data``, in order of first sight, each encoding once."""
        hits: dict[SecretHit, None] = {}
        for offset, gram in self._known_grams(data):
            for needle, position in self.grams[gram]:
                start = offset - position
                if start >= 0 and data.startswith(self.cores[needle], start):
                    owner, encoding = self.owners[needle]
                    hits[SecretHit(self.names[owner], encoding)] = None
        return tuple(hits)

    def _known_grams(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Offsets of grams of the table, with them: all that belong to cores in ``data``."""
        view = memoryview(data)
        stride, sieve = self._sieve
        for begin in range(0, len(data) if sieve else 0, _AT_ONCE):
            pieces = [view[begin + at :][:_AT_ONCE] for at in range(0, GRAM_BYTES, stride)]
            # Almost always so, and found out without a step of the interpreter.
            if all(sieve.isdisjoint(_words(piece, stride)) for piece in pieces):
                continue
            # A core that the sieve met in this piece begins or ends in the next ones.
            end = min(len(data) - GRAM_BYTES + 1, begin + _AT_ONCE + CORE_BYTES)
            for offset in range(max(0, begin - CORE_BYTES), end, self.stride):
                gram = int.from_bytes(view[offset : offset + GRAM_BYTES], "little")
                if gram in self.grams:
                    yield offset, gram

    @cached_property
    def _sieve(self) -> tuple[int, frozenset[int]]:
        """A stride, and the grams at the end of all cores one of which is met at that stride.

        Not always the kernel's: numbers are made of all eight bytes of a piece in turn.
        """
        stride = next(size for size in _SIEVE_STRIDES if size <= self.stride)
        columns = _last_windows(self.cores, stride)
        return stride, frozenset(chain.from_iterable(columns))

    def extend(self, secrets: Iterable[Secret]) -> NeedleTable:
        """Return a table that finds ``secrets``, too; a name that is known gets more needles.

        The kernel's tables are added to while programs run: what is in this table keeps its
        index, a gram gets new candidates behind those that it has, and the stride becomes no
        larger: then each window has grams enough for it.

        Raises:
            UsageError: a value is too short, the table is full, or too many are alike.
        """
        least = min(self.shortest, _LEAST_FORM)
        needles: list[Needle] = []
        for secret in secrets:
            forms = needles_of(secret)
            if len(forms[0].core) < least:
                raise UsageError(
                    f"{secret.name} is too short to be watched from now on",
                    why=f"what is added while programs run has {least} bytes or more",
                    fix="declare it, so that it is known from the start",
                )
            needles += [form for form in forms if len(form.core) >= least]
        return _grown(self, needles)


def table_of(secrets: Sequence[Secret]) -> NeedleTable:
    """Build the table for ``secrets``; owners' indexes are positions in this sequence.

    The shortest value decides how often data is read. A form that would have it read more often
    (the Huffman code of a short value, a line of a long one) is left out: for its sake all
    scanning would take up to eight times as long.
    """
    forms = [needles_of(secret) for secret in secrets]
    least = min([_LEAST_FORM, *(len(of_one[0].core) for of_one in forms)])
    return build([form for of_one in forms for form in of_one if len(form.core) >= least])


def build(needles: Iterable[Needle]) -> NeedleTable:
    """Choose cores, stride and grams.

    Two secrets with the same core (one value under two names) have one owner: the one that
    comes first, whose home then decides.

    Raises:
        UsageError: too many needles, or so much alike that 4 candidates a gram do not do.
    """
    return _grown(NeedleTable(MAX_STRIDE, (), (), (), (), {}), tuple(needles))


def _grown(table: NeedleTable, needles: Collection[Needle]) -> NeedleTable:
    """``table`` with ``needles``, at the largest stride at which they can be told apart."""
    shortest = min((len(needle.core) for needle in needles), default=CORE_BYTES)
    stride = min(table.stride, shortest - GRAM_BYTES + 1)
    while stride:
        grown = _extended(replace(table, stride=stride), needles)
        if grown is not None:
            return grown
        stride //= 2
    raise UsageError(
        "these secrets are too much alike to be told apart",
        why=f"more than {MAX_CANDIDATES} of them are the same but for a few bytes",
        fix="declare only one of the secrets that begin and end alike",
    )


def _extended(table: NeedleTable, needles: Iterable[Needle]) -> NeedleTable | None:
    """``None`` if some gram would have too many candidates."""
    names = {name: index for index, name in enumerate(table.names)}
    owners = dict(zip(table.cores, table.owners, strict=True))
    starts = list(table.starts)
    for needle in needles:
        owner = names.setdefault(needle.secret, len(names))
        if needle.core not in owners:
            owners[needle.core] = owner, needle.encoding
            starts.append(needle.start)
    if len(owners) > MAX_NEEDLES:
        raise UsageError(
            f"these secrets have {len(owners):,} forms; the limit is {MAX_NEEDLES:,}",
            why="each value counts in every encoding, and each line of a long one by itself",
            fix="declare only the secrets that this job uses",
        )
    cores = tuple(owners)
    grams = _indexed(cores, len(table.cores), table.stride, table.grams)
    if grams is None:
        return None
    parts = tuple(owners.values()), tuple(starts), tuple(names)
    return NeedleTable(table.stride, cores, *parts, grams)


def _indexed(cores: Sequence[bytes], first: int, stride: int, known: Grams) -> Grams | None:
    """Add a window of ``stride`` grams of each core from ``first`` on.

    Almost every core's last window is its own. All of those are cut out together, a word of
    all cores at a time; only for the others a better window is looked for.
    """
    numbers = range(first, len(cores))
    columns = _last_windows(cores[first:], stride)
    counts = Counter(chain.from_iterable(columns))
    shared = {gram for gram, count in counts.items() if count > 1 or gram in known}
    contended = {
        number
        for column in columns
        for number, gram in zip(numbers, column, strict=True)
        if gram in shared
    }
    tail = GRAM_BYTES + stride - 1
    contended.update(number for number in numbers if _is_dull_within(cores[number][-tail:]))
    grams = dict(known)
    for at, column in enumerate(columns):
        grams.update(
            (gram, ((number, len(cores[number]) - tail + at),))
            for number, gram in zip(numbers, column, strict=True)
            if number not in contended
        )
    return grams if _settle(cores, sorted(contended), stride, grams) else None


def _last_windows(cores: Sequence[bytes], stride: int) -> list[tuple[int, ...]]:
    """For each place in the last window the grams of all cores there."""
    tail = GRAM_BYTES + stride - 1
    words = -(-tail // GRAM_BYTES)
    slot = words * GRAM_BYTES
    # One slot more: the places are read from different offsets.
    joined = bytes(slot - tail).join([*(core[-tail:] for core in cores), bytes(slot)])
    layout = f"<{words * len(cores)}Q"
    return [unpack_from(layout, joined, at)[::words] for at in range(stride)]


def _words(piece: memoryview, stride: int) -> array[int]:
    """The little-endian numbers in ``piece``, or one every ``stride`` bytes."""
    words = array("Q")
    words.frombytes(piece[: len(piece) // GRAM_BYTES * GRAM_BYTES])
    if sys.byteorder == "big":
        words.byteswap()
    return words[:: stride // GRAM_BYTES] if stride > GRAM_BYTES else words


def _settle(
    cores: Sequence[bytes], contended: Iterable[int], stride: int, grams: dict[int, Candidates]
) -> bool:
    """Give each of ``contended`` the window that is least shared; whether all got one."""
    grams_of = {number: _grams(cores[number]) for number in contended}
    common = Counter(gram for own in grams_of.values() for gram in own[-_TAIL:])
    for number, own in grams_of.items():
        for start in _windows(own, common, stride, grams):
            window = own[start : start + stride]
            wanted = Counter(window)
            if all(len(grams.get(g, ())) + n <= MAX_CANDIDATES for g, n in wanted.items()):
                break
        else:
            return False
        for position, gram in enumerate(window, start):
            grams[gram] = (*grams.get(gram, ()), (number, position))
    return True


def _windows(
    own: Sequence[int], common: Mapping[int, int], stride: int, grams: Grams
) -> Iterator[int]:
    """Start positions of the windows, the best first, those near the end before all others.

    Best is: no dull gram, none that other cores have too, and near the end, since what all
    tokens of a kind share (``ghp_``, ``github_pat_``, ``pypi-``) is at their beginning.
    """
    costs = [
        common.get(gram, 1) - 1 + len(grams.get(gram, ())) + (_DULL_COST if _is_dull(gram) else 0)
        for gram in own
    ]
    sums = [0, *accumulate(costs)]
    totals = [sums[start + stride] - sums[start] for start in range(len(own) - stride + 1)]
    near = max(0, len(own) - _TAIL)
    for starts in (range(near, len(totals)), range(near)):
        yield from sorted(starts, key=lambda start: (totals[start], -start))


def _grams(core: bytes) -> list[int]:
    return [
        int.from_bytes(core[start : start + GRAM_BYTES], "little")
        for start in range(len(core) - GRAM_BYTES + 1)
    ]


def _is_dull(gram: int) -> bool:
    return len(set(gram.to_bytes(GRAM_BYTES, "little"))) < _DULL_VARIETY


def _is_dull_within(tail: bytes) -> bool:
    """Whether some gram of ``tail`` is dull."""
    # Leaving a byte out takes at most one different byte away.
    if len(set(tail)) - (len(tail) - GRAM_BYTES) >= _DULL_VARIETY:
        return False
    return any(map(_is_dull, _grams(tail)))
