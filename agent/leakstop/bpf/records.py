# SPDX-License-Identifier: MIT
"""The events of ``leakstop.h``, for user space. A test compares them with the object's BTF."""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_int32, c_uint8, c_uint16, c_uint32, c_uint64
from enum import IntEnum

ARGV_COPY = 4096
EXE_COPY = 256
NAME_MAX_TEXT = 256
HITS_MAX = 8
ANSWERS_MAX = 64
PLAINTEXT_COPY = 4096
REQUEST_COPY = 256
TEXT_COPY = 64


class Kind(IntEnum):
    """``enum event_kind``"""

    FORK = 1
    EXEC = 2
    EXIT = 3
    CONNECT = 4
    QUESTION = 5
    ANSWER = 6
    STREAM = 7
    BIND = 8
    WRITE = 9
    TLS = 10
    PLAINTEXT = 11
    CONTAINER = 12
    ENGINE = 13
    TAMPER = 14


class Lost(IntEnum):
    """``enum loss``: what could not be done."""

    EVENTS = 0
    SCRATCH = 1
    ADDRESSES = 2
    MARKS = 3
    ARGV = 4
    ANSWERS = 5
    SOCKETS = 6
    NAMES = 7
    WRITES = 8
    PLAINTEXTS = 9
    OWNERS = 10


class EventHead(ctypes.Structure):
    """``struct event_head``"""

    _fields_ = (("kind", c_uint32), ("pid", c_uint32), ("ts", c_uint64), ("start", c_uint64))


class EventFork(ctypes.Structure):
    """``struct event_fork``"""

    _fields_ = (("head", EventHead), ("ppid", c_uint32), ("tag", c_uint32))


class EventExit(ctypes.Structure):
    """``struct event_exit``"""

    _fields_ = (("head", EventHead), ("code", c_int32), ("pad", c_uint32))


class EventExec(ctypes.Structure):
    """``struct event_exec``"""

    _fields_ = (
        ("head", EventHead),
        ("cgroup", c_uint64),
        ("ppid", c_uint32),
        ("uid", c_uint32),
        ("argv_bytes", c_uint32),
        ("argv_copied", c_uint32),
        ("hits", c_uint16 * HITS_MAX),
        ("hit_count", c_uint8),
        ("unscanned", c_uint8),
        ("held", c_uint8),
        ("unlinked", c_uint8),
        ("pad", c_uint8 * 4),
        ("tag", c_uint32),
        ("inode", c_uint64),
        ("exe", c_char * EXE_COPY),
        ("program", c_char * EXE_COPY),
        ("argv", c_char * ARGV_COPY),
    )


class Judgement(ctypes.Structure):
    """``struct judgement``"""

    _fields_ = (
        ("policy", c_uint8),
        ("applied", c_uint8),
        ("reason", c_uint8),
        ("carriage", c_uint8),
    )


class EventConnect(ctypes.Structure):
    """``struct event_connect``"""

    _fields_ = (
        ("head", EventHead),
        ("cookie", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("via", c_uint8),
        ("judged", Judgement),
        ("killed", c_uint8),
        ("hit_count", c_uint8),
        ("family", c_uint8),
        ("narrowed", c_uint8),
        ("pad", c_uint8 * 4),
        ("hits", c_uint16 * HITS_MAX),
    )


class EventQuestion(ctypes.Structure):
    """``struct event_question``"""

    _fields_ = (
        ("head", EventHead),
        ("resolver", c_uint8 * 16),
        ("judged", Judgement),
        ("qtype", c_uint16),
        ("killed", c_uint8),
        ("in_name", c_uint8),
        ("hit_count", c_uint8),
        ("begun", c_uint8),
        ("name_len", c_uint16),
        ("hits", c_uint16 * HITS_MAX),
        ("narrowed", c_uint8),
        ("pad", c_uint8 * 3),
        ("cookie", c_uint64),
        ("name", c_char * NAME_MAX_TEXT),
    )


class EventAnswer(ctypes.Structure):
    """``struct event_answer``"""

    _fields_ = (
        ("head", EventHead),
        ("ttl", c_uint32),
        ("name_len", c_uint16),
        ("count", c_uint16),
        ("refused", c_uint64),
        ("name", c_char * NAME_MAX_TEXT),
        ("address", (c_uint8 * 16) * ANSWERS_MAX),
    )


class EventStream(ctypes.Structure):
    """``struct event_stream``"""

    _fields_ = (
        ("head", EventHead),
        ("cookie", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("name_port", c_uint16),
        ("judged", Judgement),
        ("stream", c_uint8),
        ("killed", c_uint8),
        ("hit_count", c_uint8),
        ("narrowed", c_uint8),
        ("name_len", c_uint16),
        ("hits", c_uint16 * HITS_MAX),
        ("name", c_char * NAME_MAX_TEXT),
        ("tail", c_uint8 * 2),
    )


class EventBind(ctypes.Structure):
    """``struct event_bind``"""

    _fields_ = (("head", EventHead), ("ip", c_uint8 * 16), ("port", c_uint16), ("pad", c_uint8 * 6))


class EventWrite(ctypes.Structure):
    """``struct event_write``"""

    _fields_ = (
        ("head", EventHead),
        ("cookie", c_uint64),
        ("object", c_uint64),
        ("size", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("channel", c_uint8),
        ("judged", Judgement),
        ("library", c_uint8),
        ("tie", c_uint8),
        ("killed", c_uint8),
        ("hit_count", c_uint8),
        ("name_len", c_uint16),
        ("hits", c_uint16 * HITS_MAX),
        ("begun", c_uint8),
        ("pad", c_uint8),
        ("name", c_char * NAME_MAX_TEXT),
    )


class EventTls(ctypes.Structure):
    """``struct event_tls``"""

    _fields_ = (
        ("head", EventHead),
        ("object", c_uint64),
        ("library", c_uint8),
        ("pad", c_uint8 * 5),
        ("name_len", c_uint16),
        ("name", c_char * NAME_MAX_TEXT),
    )


class EventPlaintext(ctypes.Structure):
    """``struct event_plaintext``"""

    _fields_ = (
        ("head", EventHead),
        ("stream", c_uint64),
        ("offset", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("channel", c_uint8),
        ("library", c_uint8),
        ("len", c_uint32),
        ("bytes", c_char * PLAINTEXT_COPY),
    )


class EventContainer(ctypes.Structure):
    """``struct event_container``"""

    _fields_ = (
        ("head", EventHead),
        ("container", c_uint64),
        ("tag", c_uint32),
        ("asker", c_uint32),
        ("first", c_uint8),
        ("stays", c_uint8),
        ("pad", c_uint8 * 6),
    )


class EventEngine(ctypes.Structure):
    """``struct event_engine``"""

    _fields_ = (
        ("head", EventHead),
        ("tag", c_uint32),
        ("len", c_uint32),
        ("enters", c_uint8),
        ("pad", c_uint8 * 7),
        ("path", c_char * REQUEST_COPY),
    )


class EventTamper(ctypes.Structure):
    """``struct event_tamper``"""

    _fields_ = (
        ("head", EventHead),
        ("argument", c_uint64),
        ("target", c_uint32),
        ("trick", c_uint8),
        ("denied", c_uint8),
        ("killed", c_uint8),
        ("whom", c_uint8),
        ("text", c_char * TEXT_COPY),
    )


MIRRORS: dict[str, type[ctypes.Structure]] = {
    "event_head": EventHead,
    "event_fork": EventFork,
    "event_exit": EventExit,
    "event_exec": EventExec,
    "judgement": Judgement,
    "event_connect": EventConnect,
    "event_question": EventQuestion,
    "event_answer": EventAnswer,
    "event_stream": EventStream,
    "event_bind": EventBind,
    "event_write": EventWrite,
    "event_tls": EventTls,
    "event_plaintext": EventPlaintext,
    "event_container": EventContainer,
    "event_engine": EventEngine,
    "event_tamper": EventTamper,
}
"""By the struct's name in C, for the comparison with BTF."""
