# SPDX-License-Identifier: MIT
"""A host that answers package managers and git well enough for them to be content."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from functools import cache

from lab.collector import Stream

PACKAGE, VERSION = "lab-package", "1.0"
WHEEL = f"lab_package-{VERSION}-py3-none-any.whl"
_UPGRADE = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""


class Service(Stream):
    """A Python index, an npm registry, a git remote and a websocket; anything else is "ok"."""

    def reply(self, head: bytes, body: bytes) -> bytes:
        """Answer by what the path asks for."""
        line, *fields = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ")
        path, _, query = path.partition("?")
        headers = {key.lower(): value.strip() for key, _, value in map(_field, fields)}
        if "sec-websocket-key" in headers:
            return _switched(headers["sec-websocket-key"])
        if path.endswith("/info/refs"):
            return _answer(
                _refs(query.partition("=")[2]), f"application/x-{query[8:]}-advertisement"
            )
        if path.endswith("/git-receive-pack"):
            text = _packet("unpack ok\n") + _packet("ok refs/heads/main\n") + b"0000"
            return _answer(text, "application/x-git-receive-pack-result")
        if path == f"/simple/{PACKAGE}/":
            link = f'<!DOCTYPE html><a href="/files/{WHEEL}">{WHEEL}</a>'
            return _answer(link.encode(), "text/html")
        if path == f"/files/{WHEEL}":
            return _answer(wheel(), "application/octet-stream")
        if path.startswith("/-/") or method == "PUT":
            return _answer(json.dumps({"username": "lab", "ok": True}).encode(), "application/json")
        return super().reply(head, body)


@cache
def wheel() -> bytes:
    """A package with nothing in it."""
    metadata = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n"
    tags = "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {"METADATA": metadata, "WHEEL": tags}
    place = f"lab_package-{VERSION}.dist-info"
    record = "".join(f"{place}/{name},,\n" for name in [*files, "RECORD"])
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        for name, text in {**files, "RECORD": record}.items():
            archive.writestr(f"{place}/{name}", text)
    return kept.getvalue()


def _field(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _answer(body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _packet(text: str) -> bytes:
    """A line of git's protocol (gitprotocol-common(5))."""
    return f"{len(text) + 4:04x}{text}".encode()


def _refs(service: str) -> bytes:
    """What an empty repository advertises (gitprotocol-http(5))."""
    nothing = f"{'0' * 40} capabilities^{{}}\0report-status\n"
    return _packet(f"# service={service}\n") + b"0000" + _packet(nothing) + b"0000"


def _switched(key: str) -> bytes:
    accept = base64.b64encode(hashlib.sha1((key + _UPGRADE).encode()).digest()).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
