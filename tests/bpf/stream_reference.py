# SPDX-License-Identifier: MIT
"""What a TCP stream shows of itself, read in one go: the reference for the kernel's automata.

Recursive descent over the whole stream, so that it has little in common with them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from bpf.streams import Shown
from leakstop.model.flow import Stream

RECORD_MAX, ENCRYPTED_MAX, HELLO_MAX = 16384, 16384 + 2048, 16384
NAME_MAX, LITERAL_MAX = 253, 49
SERVER_NAME, EARLY_DATA, ECH = 0, 42, 0xFE0D

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_METHOD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-")
_CONTROL = frozenset(range(0x20)) | {0x7F}
_TARGET = frozenset(range(256)) - _CONTROL - {0x20}
_TEXT = frozenset(range(256)) - _CONTROL | {0x09}
_HOST = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_DIGIT, _HEX = frozenset(b"0123456789"), frozenset(b"0123456789abcdefABCDEF")
_BLANK = frozenset(b" \t")


class MoreError(Exception):
    """The stream is not complete."""


class BrokenError(Exception):
    """No TLS and no HTTP that could be read in one way only."""


class PastError(Exception):
    """The client is past its hellos."""


@dataclass(frozen=True)
class Said:
    """Something shown, when all that it depends on is there, or before (``early``)."""

    shown: Shown
    early: bool = False


@dataclass
class Reading:
    """All that the stream says."""

    said: list[Said] = field(default_factory=list)
    opaque: bool = False
    """Nothing that follows needs to be read."""

    @property
    def settled(self) -> list[Shown]:
        """What is shown when nothing more comes, each thing once in a row."""
        return once([said.shown for said in self.said if not said.early])

    @property
    def shown(self) -> list[Shown]:
        """What is shown at the end of a segment that holds all of this."""
        return once(self.settled + [said.shown for said in self.said[-1:]])

    def allows(self, seen: list[Shown]) -> bool:
        """Whether ``seen`` may come of some segmentation: all that is settled, in this order."""
        told: Shown | None = None
        left = list(seen)
        for said in self.said:
            if left and left[0] == said.shown:
                told = left.pop(0)
            elif not said.early and told != said.shown:
                return False
        return not left


def once(shown: list[Shown]) -> list[Shown]:
    """Without repetitions in a row."""
    return [each for at, each in enumerate(shown) if at == 0 or each != shown[at - 1]]


def read(stream: bytes) -> Reading:
    """Read a stream from its first byte."""
    reading, connection = Reading(), _Connection(_Bytes(stream))
    try:
        for said in connection.read():
            reading.said.append(said)
        reading.opaque = True
    except MoreError:
        pass
    except BrokenError:
        broken = Shown(Stream.OTHER, "", connection.port, False, connection.tunnel)
        reading.said.append(Said(broken))
        reading.opaque = True
    return reading


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise MoreError
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def peek(self) -> int:
        if self.at >= len(self.data):
            raise MoreError
        return self.data[self.at]

    def while_in(self, allowed: frozenset[int]) -> bytes:
        begin = self.at
        while self.peek() in allowed:
            self.at += 1
        return self.data[begin : self.at]

    def expect(self, wanted: bytes) -> None:
        for byte in wanted:
            if self.take(1)[0] != byte:
                raise BrokenError

    def text_number(self, base: int) -> int:
        """At least one digit, at most 15."""
        digits = b""
        while self.peek() in (_DIGIT if base == 10 else _HEX):
            digits += self.take(1)
            if len(digits) > 15:
                raise BrokenError
        if not digits:
            raise BrokenError
        return int(digits, base)


class _Host:
    """A host's name, byte by byte."""

    def __init__(self) -> None:
        self._text = b""

    def add(self, byte: int) -> None:
        if byte not in _HOST or len(self._text) > NAME_MAX:
            raise BrokenError
        if byte == ord(".") and self._text[-1:] in (b"", b"."):
            raise BrokenError
        self._text += bytes((byte,))

    @property
    def name(self) -> str:
        """Lower case, without the dot at its end; empty if there is none."""
        name = self._text.decode().lower().removesuffix(".")
        if len(name) > NAME_MAX:
            raise BrokenError
        return name


class _Connection:
    def __init__(self, data: _Bytes) -> None:
        self.data = data
        self.tunnel = False
        self.port = 0

    def read(self) -> Iterator[Said]:
        """Ends where nothing more needs to be read."""
        upgraded = False
        while True:
            first = self.data.peek()
            if upgraded and (first >= 0x80 or first < 9):
                return
            if first == 22:
                yield from self._tls()
                return
            request = _Request(self)
            yield from request.read()
            while not (request.connect or request.upgrade):
                request = _Request(self)
                yield from request.read()
            upgraded = request.upgrade
            if request.connect:
                self.tunnel = True
                self.port = request.port

    def _tls(self) -> Iterator[Said]:
        early_data = yield from _Hello(self, second=False).read()
        while True:
            kind = self.data.peek()
            try:
                if kind == 22:
                    early_data |= yield from _Hello(self, second=True).read()
                elif kind == 23 and not early_data:
                    return
                else:
                    self.data.take(1)
                    _pass_record(self.data)
            except PastError:
                return


def _pass_record(data: _Bytes) -> None:
    if data.number(1) != 3:
        raise PastError
    data.take(1)
    length = data.number(2)
    if length > ENCRYPTED_MAX:
        raise PastError
    data.take(length)


class _Hello:
    """A ClientHello, out of as many records as it takes.

    The second is one only if its head and its version say so: encrypted records begin as they
    like.
    """

    def __init__(self, connection: _Connection, *, second: bool) -> None:
        self._connection = connection
        self._data = connection.data
        self._second = second
        self._unlike: type[Exception] = PastError if second else BrokenError
        self._record = 0
        self._left = 4
        self._hidden = self._early_data = False
        self._name = ""

    def read(self) -> Generator[Said, None, bool]:
        """Return whether early data may follow."""
        if self._second:
            self._open()
            if not self._record:
                return False
        head = self._number(4)
        self._left = head & 0xFFFFFF
        if head >> 24 != 1 or not 32 <= self._left <= HELLO_MAX:
            raise self._unlike
        if self._number(2) >> 8 != 3:
            raise self._unlike
        self._unlike = BrokenError
        self._skip(32, then=1)
        self._skip(self._length(1, lambda n: n <= 32), then=2)
        self._skip(self._length(2, lambda n: n > 0 and n % 2 == 0), then=1)
        self._skip(self._length(1, lambda n: n > 0), then=2, may_end=True)
        if self._left:
            self._length(2, lambda n: n == self._left)
            self._skip(0, then=4, may_end=True)
        named = False
        while self._left:
            kind, length = self._number(2), self._number(2)
            if kind == SERVER_NAME:
                if named or length > self._left:
                    raise BrokenError
                named = True
                self._read_name(length)
                self._skip(0, then=4, may_end=True)
            elif length > self._left:
                raise BrokenError
            self._hidden |= kind == ECH
            self._early_data |= kind == EARLY_DATA
            if self._name:
                yield Said(self._shown(), early=True)
            if kind != SERVER_NAME:
                self._skip(length, then=4, may_end=True)
        if self._record:
            raise BrokenError
        yield Said(self._shown())
        return self._early_data

    def _shown(self) -> Shown:
        kind = Stream.HIDDEN if self._hidden else Stream.TLS
        return Shown(kind, self._name, self._connection.port, tunnel=self._connection.tunnel)

    def _read_name(self, length: int) -> None:
        listed, kind, size = self._number(2), self._number(1), self._number(2)
        if kind or listed != length - 2 or size != length - 5 or not size or size > self._left:
            raise BrokenError
        host = _Host()
        for _ in range(size):
            host.add(self._number(1))
        self._name = host.name

    # ---- bytes, over the borders of records ----

    def _length(self, size: int, good: Callable[[int], bool]) -> int:
        length = self._number(size)
        if not good(length) or length > self._left:
            raise BrokenError
        return length

    def _number(self, size: int) -> int:
        if size > self._left:
            raise BrokenError
        return int.from_bytes(b"".join(self._byte() for _ in range(size)), "big")

    def _skip(self, count: int, then: int, *, may_end: bool = False) -> None:
        """Pass bytes; behind them must be room for ``then`` more, or nothing."""
        behind = self._left - count
        if behind < then and not (may_end and behind == 0):
            raise BrokenError
        for _ in range(count):
            self._byte()

    def _byte(self) -> bytes:
        while not self._record:
            self._open()
        self._record -= 1
        self._left -= 1
        return self._data.take(1)

    def _open(self) -> None:
        if self._data.number(1) != 22:
            raise BrokenError
        if self._data.number(1) != 3:
            raise self._unlike
        self._data.take(1)
        self._record = self._data.number(2)
        if not self._record and not self._second:
            raise BrokenError
        if self._record > RECORD_MAX:
            raise self._unlike


class _Request:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._data = connection.data
        self.connect = self.upgrade = False
        self.port = connection.port
        self._name = ""
        self._absolute = self._old = False
        self._seen: set[bytes] = set()
        self._length = 0

    def read(self) -> Iterator[Said]:
        """Read one request with its body."""
        self._request_line()
        if self._absolute:
            yield Said(self._shown(), early=True)
        self._target_rest()
        while (byte := self._data.take(1)) != b"\r":
            yield from self._field(byte)
        self._data.expect(b"\n")
        chunked, sized = b"transfer-encoding" in self._seen, b"content-length" in self._seen
        if (chunked and (sized or self.connect)) or (self.connect and self._length):
            raise BrokenError
        yield Said(self._shown())
        if chunked:
            self._chunks()
        else:
            self._data.take(self._length)

    def _shown(self) -> Shown:
        connection = self._connection
        return Shown(Stream.HTTP, self._name, self.port, self.connect, connection.tunnel)

    def _request_line(self) -> None:
        method = self._data.while_in(_METHOD)
        self._data.expect(b" ")
        if not method or method == b"PRI":
            raise BrokenError
        self.connect = method == b"CONNECT"
        if not self.connect:
            first = self._data.take(1)
            if first in (b"/", b"*"):
                self._data.while_in(_TARGET)
                return
            for _ in range(6):
                if first[-1] in _CONTROL:
                    raise BrokenError
                first += self._data.take(1)
            if first.lower() != b"http://":
                raise BrokenError
        self._absolute = True
        self._name, port = self._authority()
        end = self._data.peek()
        if not self._name or port == 0 or (self.connect and port is None):
            raise BrokenError
        if end not in (b" " if self.connect else b"/? "):
            raise BrokenError
        self.port = port or 80

    def _target_rest(self) -> None:
        self._data.while_in(_TARGET)
        self._data.expect(b" ")
        version = b""
        while (byte := self._data.take(1)) != b"\r":
            version += byte
            if len(version) > 8:
                raise BrokenError
        if version not in (b"HTTP/1.0", b"HTTP/1.1"):
            raise BrokenError
        self._old = version == b"HTTP/1.0"
        self._data.expect(b"\n")

    def _authority(self) -> tuple[str, int | None]:
        """The name, and the port if one is written."""
        name = self._literal() if self._data.peek() == ord("[") else self._reg_name()
        if self._data.peek() != ord(":"):
            return name, None
        self._data.take(1)
        port = None
        while self._data.peek() in _DIGIT:
            port = (port or 0) * 10 + int(self._data.take(1))
            if port > 65535:
                raise BrokenError
        if not name:
            raise BrokenError
        return name, port

    def _reg_name(self) -> str:
        host = _Host()
        while self._data.peek() in _HOST:
            host.add(self._data.number(1))
        return host.name

    def _literal(self) -> str:
        text = self._data.take(1)
        while not text.endswith(b"]"):
            byte = self._data.take(1)
            if byte[0] not in _HEX | frozenset(b":.]") or len(text) >= LITERAL_MAX:
                raise BrokenError
            text += byte
        return text.decode().lower()

    def _field(self, first: bytes) -> Iterator[Said]:
        name = self._field_name(first)
        if name in (b"host", b"content-length", b"transfer-encoding"):
            if name in self._seen:
                raise BrokenError
            self._seen.add(name)
        self._data.while_in(_BLANK)
        if name == b"host":
            self._host()
            if self._name:
                yield Said(self._shown(), early=True)
        elif name == b"content-length":
            self._length = self._data.text_number(10)
        elif name == b"transfer-encoding":
            coding = self._data.while_in(_TOKEN)
            if coding.lower() != b"chunked" or self._old:
                raise BrokenError
        else:
            self.upgrade |= name == b"upgrade"
            self._data.while_in(_TEXT)
        self._data.while_in(_BLANK)
        self._data.expect(b"\r\n")

    def _field_name(self, first: bytes) -> bytes:
        if first[0] not in _TOKEN:
            raise BrokenError
        name = first + self._data.while_in(_TOKEN)
        self._data.expect(b":")
        return name.lower()

    def _host(self) -> None:
        name, _ = self._authority()
        if self._absolute and name != self._name:
            raise BrokenError
        self._name = name

    def _chunks(self) -> None:
        while True:
            size = self._data.text_number(16)
            if self._data.peek() == ord(";"):
                self._data.while_in(_TEXT)
            self._data.expect(b"\r\n")
            if not size:
                break
            self._data.take(size)
            self._data.expect(b"\r\n")
        while (byte := self._data.take(1)) != b"\r":
            if self._field_name(byte) in (b"host", b"content-length", b"transfer-encoding"):
                raise BrokenError
            self._data.while_in(_TEXT)
            self._data.expect(b"\r\n")
        self._data.expect(b"\n")
