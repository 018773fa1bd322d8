# SPDX-License-Identifier: MIT
"""What the first instructions of a function tell."""

from __future__ import annotations

import pytest

from leakstop.sensor.tls.code import keeps_fourth

PUSHES = b"\x41\x57\x41\x56\x53\x50"  # r15, r14, rbx, rax
TO_R14 = b"\x49\x89\xce"
TO_STACK = b"\x48\x89\x4c\x24\x08"


@pytest.mark.parametrize(
    ("code", "keeps"),
    [
        (PUSHES + TO_R14, True),
        (b"\xf3\x0f\x1e\xfa" + PUSHES + b"\x48\x89\xd3" + TO_R14, True),  # endbr64, rdx to rbx
        (b"\x48\x83\xec\x18\x48\x89\x7c\x24\x10" + TO_STACK, True),  # rdi there, too
        (b"\x48\x83\xec\x18\x48\x89\x14\x24" + TO_STACK, True),  # rdx to where rsp is
        (b"\x55\x48\x89\xe5\x48\x89\x7d\xf8\x48\x89\x4d\xf0", True),  # with a frame pointer
        (PUSHES + b"\x49\x89\xd6", False),  # rdx to r14, and it ends
        (PUSHES + b"\x48\x8b\x0f" + TO_R14, False),  # something else is put into rcx
        (PUSHES + b"\x48\x89\xf1" + TO_R14, False),  # as is rsi
        (b"", False),
    ],
)
def test_a_fourth_argument_is_kept_for_later(code: bytes, keeps: bool) -> None:
    assert keeps_fourth(code) == keeps
