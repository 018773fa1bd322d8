# SPDX-License-Identifier: MIT
"""A program was refused a destination.

Why: in block mode this is what the policy is for, and the reason why a build just broke.
Sees: connections, streams and lookups that a ``deny`` rule names, in both modes; in block mode
also those that nothing names, that do not show who they are, and that could not be read.
Quiet when: never silent, but a note that fails nothing if a rule says ``quiet``, or if a
service of the machine wanted what nobody named.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.advice import PING, destination_rule, docker_of, scoped_rule
from leakstop.detect.detector import TRIES, Context, Detector, DetectorMeta, Sighting, Try
from leakstop.detect.identity import shows
from leakstop.model.event import Connect, Question, StreamSeen
from leakstop.model.finding import Finding, Severity
from leakstop.model.flow import Stream, Transport
from leakstop.model.verdict import Action, Carriage, Reason
from leakstop.policy.budgets import budgets
from leakstop.policy.scopes import EVERYBODY, Scope

META = DetectorMeta(
    id="denied-flow",
    title="A destination was denied",
    severity=Severity.HIGH,
    needs=TRIES,
    incident="Codecov, April 2021: an upload to a bare address that no build needs",
    since="0.1.0",
)


class DeniedFlow(Detector[Try]):
    """Reports a denial once for each program, step and destination, and counts the tries."""

    meta = META

    def on_event(self, event: Try, context: Context) -> Iterator[Sighting]:
        """Look at one attempt."""
        if event.applied is not Action.DENY or event.carriage is Carriage.KILL:
            return  # a kill is reported by the detector of the secret
        rule = context.rule
        harmless = context.quiet or context.service
        finding = Finding(
            id=META.id,
            severity=Severity.INFO if harmless else META.severity,
            title=META.title,
            process=context.process,
            destination=context.destination,
            secret="",
            encoding="",
            step="",
            action_taken=_done(event, context) + _relayed(context),
            what_to_do=_advice(event, context),
            ts_ns=event.ts_ns,
            count=context.tries,
            rule=f"{rule.text} ({rule.place()})" if rule is not None else "",
            failing=not harmless,
        )
        # A budget is spent by many names, each made up: they are one cause, that of its rule.
        spent = event.reason is Reason.BUDGET and rule is not None
        place = rule.text if spent and rule else context.destination
        yield Sighting((place, context.process.exe, event.reason, context.flow.stream), finding)


_DENIED = {
    "socket": "Refused as the program asked for it: nothing was sent.",
    "accept": "An answer to a connection that came in was denied: nothing was sent back.",
    "older": "A connection from before the guard was denied: nothing more was sent.",
    "link": (
        "A packet that went past the sockets (packet socket, forwarded, tunnel) was dropped "
        "on its way out of the machine."
    ),
}
"""By ``Connect.via``, what is no connection of its own."""

_CUT = {Stream.HTTP: "this request", Stream.OTHER: "anything more"}
_DATA = "its first byte of data"
"""What a stream of this kind had not sent yet: one of HTTP may have had requests before."""


def _done(event: Try, context: Context) -> str:
    if isinstance(event, Question):
        return "The name was not looked up, and nothing was sent."
    if isinstance(event, StreamSeen):
        over = f" to {context.over}" if context.over else ""
        return f"The connection{over} was cut before {_CUT.get(event.stream, _DATA)} was sent."
    return _DENIED.get(event.via, "Denied before the first byte: nothing was sent.")


def _relayed(context: Context) -> str:
    client = context.relayed_for
    if client is None:
        return ""
    who = f"{client.command} (pid {client.pid})"
    return f" It may have been sent for {who}, which was connected to this program."


def _advice(event: Try, context: Context) -> str:
    if context.quiet:
        return "Nothing: the policy wants this denial and its silence."
    if context.service:
        return (
            "Nothing for the job: a service of this machine wanted it, which ran before the guard "
            "and belongs to no step. If it matters, allow it."
        )
    if isinstance(event, Connect) and event.via == "socket":
        return _unjudgeable(event)
    if event.reason is Reason.UNPARSABLE:
        return (
            "It could not be read, so it could not be judged. Look at what this program sends; "
            "no rule can allow it."
        )
    if event.reason is Reason.PROTOCOL and isinstance(event, Question):
        return (
            f"Ordinary programs do not ask for records of type {event.qtype}, and no rule allows "
            "them. Find out why this one does."
        )
    if event.reason is Reason.RESOLVER:
        return (
            "It answered in the name of the machine's resolver, which only the resolver may. If it "
            "is one of the job's own, name its address in the policy (`udp://ADDRESS:53`); if not, "
            "treat it as an attack."
        )
    if event.reason is Reason.DENY_RULE:
        return (
            "A deny rule names this destination. If the job needs it, narrow that rule; "
            "if not, find out why this program wants it."
        )
    if event.reason is Reason.BUDGET:
        return _budget(context)
    rule = destination_rule(context.flow, context.place)
    if not rule:
        return "Find out why this program wants it; a policy has no word that would allow it."
    sources = context.policy.sources
    docker = docker_of(context.process.exe, context.flow.who)
    item = _item(scoped_rule(rule, docker) if context.only_for else rule)
    add = f"add under `allow:`{f' in {sources[0]}' if sources else ''}: `{item}`"
    unless = "If you do not expect it, treat it as an attack until shown otherwise."
    if context.only_for:
        whom = _for_whom(docker, add)
        return f"The policy allows it only for {context.only_for}. {whom} {unless}"
    if event.reason is not Reason.IDENTITY:
        return f"If the job needs it, {add}. {unless}"
    but = f"A rule names this place, but {shows(context.flow.stream, context.flow.shown)}."
    trust = "must be trusted by its address alone" if rule.startswith("tcp:") else "speaks this"
    return f"{but} If this client {trust}, {add}. {unless}"


def _for_whom(docker: Scope, add: str) -> str:
    """What to do about a rule for others."""
    if docker == EVERYBODY:
        return "If this is somebody who needs it too, name them in that rule."
    who = "Docker's daemon" if docker.process else "A builder in a container"
    return f"{who} belongs to no step that asks it for something. If the job needs it, {add}."


def _unjudgeable(event: Connect) -> str:
    """For a socket, or an option of one, behind which no later hook could judge."""
    if event.reason is Reason.UNPARSABLE:
        return (
            "Source routing, extension headers, sources of somebody else's, an early end of hops "
            "and rings of packet sockets lead packets around the guard, so no rule allows these "
            "options. Ordinary programs work without them: find out why this one does not."
        )
    ping = f"{PING} " if event.transport is Transport.ICMP else ""
    return (
        f"What is sent through it could not be judged, so no rule allows it. {ping}"
        "If you do not expect it, treat it as an attack until shown otherwise."
    )


def _budget(context: Context) -> str:
    ref = context.rule
    places = {rule.place for rule in context.policy.rules if rule.ref == ref}
    limits = [each for each in budgets(context.policy.rules) if places & set(each.places)]
    pattern = f"`{ref.text}`" if ref is not None else "this wildcard"
    most = "its rule allows"
    if limits and len(limits[0].places) > 1:
        return (
            f"More than {limits[0].names:,} names of {pattern} were asked for. If the job needs "
            "this one too, allow it by a rule of its own; if not, find out why this program asks "
            "for it."
        )
    if limits:
        most = f"{limits[0].names:,} names, or {limits[0].bytes:,} bytes of names,"
    return (
        f"More than {most} were asked for below {pattern}: names that are made up can carry "
        "data out. If the job needs as many, raise `names:` on that rule; if not, find out why "
        "this program asks for them."
    )


def _item(rule: str) -> str:
    return f'- "{rule}"' if rule.startswith("[") else f"- {rule}"
