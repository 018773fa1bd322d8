# SPDX-License-Identifier: MIT
"""A program sends something that looks like a token and is none that is known.

Why: a thief also takes what nobody declared: from a file, from another service, from memory.
Sees: the formats of the catalogue, in what leaves in the open or inside TLS.
Quiet when: the place is a home of the format. It is only a note if nobody knows the format's home:
most such tokens are on their way to it. Never red: many things look like a token.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.model.event import ShapeSeen
from leakstop.model.finding import Finding, Severity
from leakstop.secrets.formats import of_kind

META = DetectorMeta(
    id="secret-shaped",
    title="Something of the shape of a token was sent",
    severity=Severity.MEDIUM,
    needs=(ShapeSeen,),
    incident="Shai-Hulud, September 2025: a scanner collected what no workflow had named",
    since="0.1.0",
)


class SecretShaped(Detector[ShapeSeen]):
    """Warns of a shape once for each program, step, format and place."""

    meta = META

    def on_event(self, event: ShapeSeen, context: Context) -> Iterator[Sighting]:
        """Look at one shape."""
        if event.at_home:
            return
        finding = Finding(
            id=META.id,
            severity=_severity(event),
            title=META.title,
            process=context.process,
            destination=context.destination,
            secret="",
            encoding="",
            step="",
            action_taken=_seen(event),
            what_to_do=_advice(event),
            ts_ns=event.ts_ns,
            failing=False,
            channel=event.channel,
        )
        yield Sighting((event.format, event.certain, context.place, context.process.exe), finding)


def _severity(event: ShapeSeen) -> Severity:
    form = of_kind(event.format)
    placed = form is not None and (form.home or form.own_home)
    return META.severity if placed else Severity.INFO


def _seen(event: ShapeSeen) -> str:
    by = "By its checksum it is" if event.certain else "By its shape it could be"
    return f"{by}: {event.format}. Its value is none that is watched, so it was let go."


def _advice(event: ShapeSeen) -> str:
    form = of_kind(event.format)
    page = f" ({form.revoke})" if form is not None and form.revoke else ""
    unless = "If" if event.certain else "If it is one of yours and"
    return (
        f"{unless} you do not know this destination, revoke it{page}. If it belongs there, "
        "declare it under `secrets:`, so that it is stopped everywhere else."
    )
