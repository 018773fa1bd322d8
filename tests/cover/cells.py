# SPDX-License-Identifier: MIT
"""One cell of the table: a secret of its own, written in one way, sent by one client."""

from __future__ import annotations

import secrets
import shlex
import string
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cover.clients import CHANNELS, CLIENTS, COMMANDS, CONFIGS
from cover.encodings import ENCODINGS, NAMES, Encoding, Split
from lab.tokens import Token

SENDERS = Path(__file__).parent / "senders"
_SPECIAL = "\"\\/+&% $'"


@dataclass(frozen=True)
class Cell:
    """A channel, an encoding and a client."""

    channel: str
    encoding: str
    client: str
    value: str = field(default="", compare=False)
    """Of its secret, made up."""

    def __str__(self) -> str:
        return f"{self.channel}-{self.encoding}-{self.client}"

    @property
    def key(self) -> str:
        """Its name in ``results.json``."""
        return f"{self.channel}/{self.encoding}/{self.client}"

    @property
    def host(self) -> str:
        """Where it goes: no other cell goes there."""
        return f"{self}.collector.test"

    @property
    def token(self) -> Token:
        """Its secret."""
        return Token(str(self).upper().replace("-", "_"), self.value)

    @property
    def body(self) -> bytes:
        """What is sent."""
        return ENCODINGS[self.encoding].write(self.value.encode())

    @property
    def names(self) -> tuple[str, ...]:
        """What is asked for."""
        return tuple(f"{name}.{self.host}" for name in NAMES[self.encoding](self.value))

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """What must not arrive."""
        if self.channel == "dns":
            asked = NAMES[self.encoding](self.value)
            return tuple(name.replace(".", "").lower().encode() for name in asked)
        return ENCODINGS[self.encoding].pieces(self.value.encode())

    def command(self, directory: Path, programs: Mapping[str, Path]) -> str:
        """Write what the client reads into ``directory`` and return the line that runs it."""
        line, texts = COMMANDS[self.client, self.channel], {"host": self.host}
        if self.channel == "dns":
            texts["name"] = self.names[0]
            self._write(directory, texts, "names", " ".join(self.names).encode())
        else:
            encoding = ENCODINGS[self.encoding]
            texts |= _http(encoding)
            self._write(directory, texts, "body", self.body)
            self._write(directory, texts, "tagged", self.host.encode() + b" " + self.body)
            head = f"POST / HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {len(self.body)}\r\n"
            self._write(directory, texts, "request", head.encode() + b"\r\n" + self.body)
            texts["text"] = "" if encoding.binary else shlex.quote(self.body.decode())
        config = CONFIGS.get((self.client, self.channel))
        if config is not None:
            self._write(directory, texts, "config", config.format(**texts).encode())
        paths = {name.replace("-", "_"): str(path) for name, path in programs.items()}
        return line.format(senders=SENDERS, python=sys.executable, **paths, **texts)

    def _write(self, directory: Path, texts: dict[str, str], name: str, content: bytes) -> None:
        path = directory / f"{self}.{name}"
        path.write_bytes(content)
        texts[name] = str(path)


def _http(encoding: Encoding) -> dict[str, str]:
    return {
        "how": encoding.how or "whole",
        "headers": " ".join(f"-H '{header}'" for header in encoding.headers),
        "bare_headers": " ".join(f"'{header}'" for header in encoding.headers),
    }


def with_secrets(cells: Iterable[Cell]) -> list[Cell]:
    """Give each cell a secret of its own, of a kind that its encoding is about."""
    return [Cell(cell.channel, cell.encoding, cell.client, _value(cell)) for cell in cells]


def _value(cell: Cell) -> str:
    if cell.channel == "dns":  # names are compared without case
        return secrets.token_hex(12)
    plain = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32))
    if not ENCODINGS[cell.encoding].special:
        return plain
    mixed = "".join(letter + mark for letter, mark in zip(plain, _SPECIAL, strict=False))
    return mixed + plain[len(_SPECIAL) :]


def by_client(channel: str) -> Iterator[Cell]:
    """A secret as it is, through every client that has the channel."""
    return (Cell(channel, "raw", client) for client in CLIENTS if (client, channel) in COMMANDS)


def by_encoding(channel: str, client: str) -> Iterator[Cell]:
    """Every encoding through one client; the first, ``raw``, is in ``by_client``."""
    for name, encoding in ENCODINGS.items():
        if name != "raw" and not why_not(encoding, channel, client):
            yield Cell(channel, name, client)


def why_not(encoding: Encoding, channel: str, client: str) -> str:
    """Why an encoding is not sent that way; empty if it is."""
    if channel == "argv" and encoding.binary:
        return "no text"
    if channel == "argv" and encoding.http:
        return "needs a request's header"
    if channel in ("tcp", "udp") and encoding.http:
        return "a form of HTTP's"
    if client == "curl" and (encoding.how or (isinstance(encoding, Split) and channel == "argv")):
        return "curl does not send in such pieces"
    return ""


def _all_encodings(*pairs: tuple[str, str]) -> Iterator[Cell]:
    return (cell for channel, client in pairs for cell in by_encoding(channel, client))


GROUPS: dict[str, Callable[[], Iterator[Cell]]] = {
    "clients": lambda: (cell for channel in CHANNELS for cell in by_client(channel)),
    "tls": lambda: _all_encodings(("tls", "curl"), ("tls", "python")),
    "http": lambda: _all_encodings(("http", "python"), ("argv", "curl")),
    "bare": lambda: _all_encodings(("tcp", "python"), ("udp", "python")),
    "names": lambda: (Cell("dns", kind, "python") for kind in NAMES if kind != "raw"),
}
"""The cells that one run goes through, by the run's name."""
