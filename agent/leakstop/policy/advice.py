# SPDX-License-Identifier: MIT
"""What is legal but probably not meant: one warning for each, with the way out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from leakstop.model.verdict import Action, Mode, RuleRef
from leakstop.policy.explain import describe_scope
from leakstop.policy.lookup import example, meet
from leakstop.policy.presets import BUILT_IN, RUNNER, SINKS
from leakstop.policy.rules import (
    AddressPlace,
    NamePlace,
    Place,
    Policy,
    Protocol,
    Reach,
    Rule,
)
from leakstop.policy.scopes import EVERYBODY
from leakstop.policy.tables import DNS_PORT
from leakstop.policy.zones import TENANTS


def advise(policy: Policy) -> tuple[str, ...]:
    """Everything worth a second look in ``policy``, each thing once."""
    allows = [rule for rule in policy.rules if rule.action is Action.ALLOW]
    denies = [rule for rule in policy.rules if rule.action is Action.DENY]
    written = [rule for rule in allows if rule.ref.source != BUILT_IN]
    found = (
        *_nothing_allowed(policy, written),
        *_wide(
            policy, [*written, *(rule for home in policy.homes.values() for rule in home.rules)]
        ),
        *_shallow_denies(denies),
        *_lost(allows, denies),
        *_unreachable_homes(policy, allows, denies),
        *_runner(written),
        *_publishing(written),
        *_moot(written),
        *_docker(
            [*written, *(rule for home in policy.homes.values() for rule in home.rules)],
        ),
        *_resolvers(written),
        *_linked(policy.rules),
    )
    return tuple(dict.fromkeys(found))


def warning(ref: RuleRef, what: str, fix: str) -> str:
    """The text of one warning."""
    return f"{ref.place()}: warning: {what}\n   = {fix}"


def _nothing_allowed(policy: Policy, written: Sequence[Rule]) -> Iterator[str]:
    if policy.mode is Mode.BLOCK and not written:
        place = policy.sources[-1] if policy.sources else BUILT_IN
        yield warning(
            RuleRef("", place),
            "nothing is allowed: no step may reach anything",
            "add an `allow:` list, or begin with `mode: audit`",
        )


def _wide(policy: Policy, rules: Iterable[Rule]) -> Iterator[str]:
    """Wildcards in zones where strangers own names, and networks that are everything."""
    zones = TENANTS | {
        rule.place.name for rule in policy.sinks if isinstance(rule.place, NamePlace)
    }
    # `**.x` covers the zones below x, too.
    over: Mapping[Reach, Collection[str]] = {
        Reach.EXACT: (),
        Reach.ONE: zones,
        Reach.DEEP: {above for zone in zones for above in _with_ancestors(zone)},
    }
    for rule in rules:
        place = rule.place
        if rule.ref.via == SINKS:
            what, fix = f"`{SINKS}` opens places where anyone can store data", "name the hosts"
        elif rule.why:
            continue
        elif isinstance(place, AddressPlace):
            if place.network.prefixlen:
                continue
            what, fix = f"`{rule.ref.text}` is every address there is", "name the hosts"
        elif place.name in over[place.reach]:
            what = f"`{rule.ref.text}`: anyone can own a name in this zone"
            fix = "name your own hosts, or say `why:` in a map"
        else:
            continue
        yield warning(rule.ref, what, fix)


def _with_ancestors(zone: str) -> Iterator[str]:
    while zone:
        yield zone
        zone = zone.partition(".")[2]


def _shallow_denies(denies: Iterable[Rule]) -> Iterator[str]:
    for rule in denies:
        place = rule.place
        if isinstance(place, NamePlace) and place.reach is Reach.ONE and not rule.ref.via:
            yield warning(
                rule.ref,
                f"`{rule.ref.text}` denies names one level below {place.name} only: "
                f"`a.b.{place.name}` is not covered",
                f"write `**.{place.name}` for all of them",
            )


def _lost(allows: Iterable[Rule], denies: Iterable[Rule]) -> Iterator[str]:
    """Denies that take something from the runner, or from another word of the policy."""
    needed = _Places(rule for rule in allows if rule.ref.via)
    for deny in denies:
        taken = [
            allow
            for allow in needed.near(deny.place)
            if _takes(deny, allow) and (deny.scope.may_be_runner or not allow.scope.runner)
        ]
        runner = next((rule for rule in taken if rule.ref.source == BUILT_IN), None)
        if runner is not None:
            yield warning(
                deny.ref,
                f"`{deny.ref.text}` denies `{runner.ref.text}`, which the runner itself needs",
                "logs, artifacts or the job itself may be lost; make the rule narrower",
            )
        elif taken and deny.ref.via:
            yield warning(
                deny.ref,
                f"`{deny.ref.via}` is denied and has a host in common with "
                f"`{taken[0].ref.via}`, which is allowed",
                "this release cannot tell them apart on one host: the deny wins",
            )


def _takes(deny: Rule, allow: Rule) -> bool:
    if not meet(deny.place, allow.place):
        return False
    if deny.protocol is Protocol.ANY:
        return True
    udp = (deny.protocol is Protocol.UDP, allow.protocol is Protocol.UDP)
    if udp[0] != udp[1]:
        return False
    return any(
        one.first <= other.last and other.first <= one.last
        for one in deny.ports
        for other in allow.ports
    )


def _unreachable_homes(
    policy: Policy, allows: Iterable[Rule], denies: Iterable[Rule]
) -> Iterator[str]:
    """A home says what may ride, not where packets may go."""
    if policy.mode is not Mode.BLOCK or not policy.homes:
        return
    opened, closed = _Places(a for a in allows if not a.scope.runner), _Places(denies)
    for name, home in policy.homes.items():
        for rule in home.rules if home.placed_by != "format" else ():
            if any(_takes(deny, rule) for deny in closed.near(rule.place)):
                fix = "a `deny` closes it"
            elif not any(_opens(allow, rule) for allow in opened.near(rule.place)):
                fix = "a home opens no destination; name it under `allow:` too"
            else:
                continue
            word = rule.ref.via or rule.ref.text
            yield warning(rule.ref, f"the home of `{name}`, `{word}`, is not reachable", fix)


def _runner(written: Iterable[Rule]) -> Iterator[str]:
    """What is open to the runner anyway, opened to all."""
    for rule in written:
        if rule.ref.via == RUNNER:
            yield warning(
                rule.ref,
                f"`{RUNNER}` is always open to the runner itself; here it is to the job's steps",
                "leave it out: what steps need of it stands in `github`",
            )


def _publishing(written: Iterable[Rule]) -> Iterator[str]:
    """Uploads that anything in the job may do."""
    for rule in written:
        word = rule.ref.via if rule.ref.via.startswith("publish:") else ""
        if not word or rule.scope.step:
            continue
        kind, _, manager = word.partition(":")
        fix = f"say which step publishes: `{{{kind}: {manager}, step: NAME}}`"
        if rule.scope.process:
            what = f"`{word}` for {describe_scope(rule.scope)} alone is a sieve, not a boundary"
            fix += "; a process can become another program of its user"
        elif rule.scope.container:
            what = f"`{word}` for {describe_scope(rule.scope)}: any step can start such a container"
        else:
            what = f"`{word}` is open to every step of the job"
        yield warning(rule.ref, what, fix)


def _moot(written: Iterable[Rule]) -> Iterator[str]:
    """Rules for somebody, of what another one opens to everybody."""
    written = tuple(written)
    scoped = [rule for rule in written if rule.scope != EVERYBODY]
    if not scoped:
        return
    opened = _Places(rule for rule in written if rule.scope == EVERYBODY)
    for rule in scoped:
        wide = next((each for each in opened.near(rule.place) if _opens(each, rule)), None)
        if wide is None:
            continue
        word, other = rule.ref.via or rule.ref.text, wide.ref.via or wide.ref.text
        apart = "uploads are not told from downloads yet: " if word.startswith("publish:") else ""
        yield warning(
            rule.ref,
            f"`{word}` is for {describe_scope(rule.scope)} alone, but `{other}` "
            f"({wide.ref.place()}) opens {rule.place} to everybody",
            f"{apart}give that rule a scope, too",
        )


DOCKER_ACTIONS = frozenset(f"docker/{name}-action" for name in ("build-push", "bake", "login"))
"""Actions that let Docker's daemon, or a builder, connect for them."""


def docker_warning(ref: RuleRef, step: str) -> str:
    """The warning about a rule for a step that does not connect itself."""
    return warning(
        ref,
        f"`step: {step}` reaches no registry itself: Docker's daemon pulls and pushes, and belongs "
        "to no step; a builder belongs to the step that started it",
        "write `process: /usr/bin/dockerd`, and for a builder of its own (setup-buildx) "
        '`container: "*buildkit*"`',
    )


def _docker(rules: Iterable[Rule]) -> Iterator[str]:
    for rule in rules:
        for step in rule.scope.step:
            if step.partition("@")[0] in DOCKER_ACTIONS:
                yield docker_warning(rule.ref, step)


def _resolvers(written: Iterable[Rule]) -> Iterator[str]:
    """Resolvers for somebody."""
    for rule in written:
        udp = rule.protocol is Protocol.UDP and any(DNS_PORT in ports for ports in rule.ports)
        if udp and rule.scope != EVERYBODY and isinstance(rule.place, AddressPlace):
            yield warning(
                rule.ref,
                f"{rule.place} is no trusted resolver: what one answers is believed for everybody",
                "leave out the scope, if its answers are to be believed",
            )


def _linked(rules: Iterable[Rule]) -> Iterator[str]:
    """Programs by a path that is a link nearly everywhere."""
    for rule in rules:
        for path in rule.scope.process:
            if path.startswith(("/bin/", "/sbin/")):
                yield warning(
                    rule.ref,
                    f"`process: {path}` means nobody where {path[: path.index('/', 1)]} is a link, "
                    "as on most machines",
                    f"write `/usr{path}`, or the bare name `{path.rpartition('/')[2]}`",
                )


class _Places:
    """Rules by place, so that long lists are not compared pair by pair."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._exact: dict[str, list[Rule]] = {}
        self._others: list[Rule] = []
        for rule in rules:
            if isinstance(rule.place, NamePlace) and rule.place.reach is Reach.EXACT:
                self._exact.setdefault(rule.place.name, []).append(rule)
            else:
                self._others.append(rule)

    def near(self, place: Place) -> Iterator[Rule]:
        """All rules that may have something in common with ``place``."""
        yield from self._others
        if isinstance(place, NamePlace) and place.reach is Reach.EXACT:
            yield from self._exact.get(place.name, ())
        elif isinstance(place, NamePlace):
            for rules in self._exact.values():
                yield from rules


def _opens(allow: Rule, home: Rule) -> bool:
    if isinstance(home.place, NamePlace) and isinstance(allow.place, NamePlace):
        inside = allow.place == home.place or allow.place.covers(example(home.place))
    else:
        inside = meet(allow.place, home.place)
    return inside and (_takes(allow, home) or allow.protocol is home.protocol)


__all__ = ["DOCKER_ACTIONS", "advise", "docker_warning", "warning"]
