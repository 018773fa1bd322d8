# SPDX-License-Identifier: MIT
"""Kernel and reference disagree on a flow: a fault of ours, unless what they know may differ."""

from __future__ import annotations

from leakstop.detect.detector import Attempt
from leakstop.detect.leak import MASK
from leakstop.engine.aim import Aim
from leakstop.engine.judge import Opinion, comparable
from leakstop.engine.names import Names
from leakstop.model.event import Question, Write
from leakstop.model.flow import Flow, Stream, Transport


def contradiction(event: Attempt, aim: Aim, opinion: Opinion, names: Names) -> str:
    """Say that they disagree, in a sentence for the report; empty if they need not agree."""
    if aim.tunnelled or not comparable(event.reason):
        return ""
    if isinstance(event, Write) or event.narrowed:
        return ""  # judged as its connection was, or as the worst of many; or as two processes
    flow = aim.flow
    if any(MASK in name for name in (*flow.names, flow.shown)):
        return ""  # the kernel saw another name
    if not (isinstance(event, Question) or names.fresh(event.ip, event.ts_ns)):
        return ""  # the kernel forgets a name when its answer has expired
    return (
        f"The kernel and the reference disagree on {_shown(flow)} (kernel: "
        f"{event.policy.value}, reference: {opinion.policy.value}). This is a fault of "
        "Leakstop: please report it. What the kernel said is what happened."
    )


def _shown(flow: Flow) -> str:
    if flow.transport is Transport.DNS:
        return f"the name {flow.names[0]}"
    shown = f" showing {flow.shown or flow.stream.value}" * (flow.stream is not Stream.UNSEEN)
    return f"{flow.ip} {flow.transport.value} {flow.port}{shown}"


__all__ = ["contradiction"]
