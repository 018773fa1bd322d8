# SPDX-License-Identifier: MIT
"""All secrets of the job, the declared and those that are found while it runs.

A value that is found is masked from that moment on, then looked for by the kernel, then
reported: in this order, so that nothing which holds it is said first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from leakstop.bpf import fill
from leakstop.bpf.libbpf import BpfError, Object
from leakstop.errors import UsageError
from leakstop.model.coverage import Loss
from leakstop.model.event import Event, SecretFound
from leakstop.secrets import discovery, formats
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import NeedleTable
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.timer import now_ns

_DIGEST_CHARACTERS = 8
_SALT_BYTES = 16
_MAX_TOLD = 16_384
"""Secrets times steps of which it is said that the one has the other."""

Grown = Callable[[NeedleTable], None]
"""Told of a table that has grown, before the kernel knows of it."""


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a secret may go."""

    mask: int | None = None
    """Of its conditions; ``None``: nobody placed it."""
    words: tuple[str, ...] = ()
    placed_by: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose environment holds a secret."""

    pid: int = 0
    """0: nobody's, it was found elsewhere."""
    tag: int = 0
    """Of its step; 0 if it is none's."""
    source: str = ""


_NOBODY = Holder()


class Inventory:
    """Grows by what is found, up to ``fill.SPARE_SECRETS``."""

    def __init__(self, plan: GuardPlan) -> None:
        self.masker = Masker(plan.secrets)
        self.needles = plan.needles
        self.secrets = list(plan.secrets)
        self._declared = frozenset(secret.name for secret in plan.secrets)
        self._homes: dict[str, _Home] = {}
        self._values = {secret.value for secret in plan.secrets}
        self._watched = {secret.value: secret for secret in plan.secrets}
        self._told: set[tuple[str, int]] = set()
        self.grown_ns = 0
        """Boot clock when something was last found: what was scanned before was not scanned for
        it."""
        self._keep = plan.keep
        self._policy = plan.policy
        self._tables = plan.tables
        self._salt = os.urandom(_SALT_BYTES)
        self._object: Object | None = None
        self._grown: Grown = lambda _: None
        self._news: list[Event] = []

    def open(self, loaded: Object, grown: Grown) -> None:
        """Have the programs of ``loaded`` look for what is found; ``grown`` is told first."""
        self._object, self._grown = loaded, grown

    def take(self, found: Iterable[Secret], holder: Holder = _NOBODY) -> None:
        """Add those of ``found`` that are new; ``holder`` had them."""
        new: dict[bytes, Secret] = {}
        for secret in found:
            if secret.value not in self._values:
                new.setdefault(secret.value, secret)
        if not new:
            return
        # Of what is beyond that nothing is kept: a job can show us as many as it likes.
        fresh = [*new.values()][: fill.SPARE_SECRETS - len(self._homes)]
        if fresh:  # first: whoever goes on after us knows at least what the kernel knows
            self._keep(fresh)
        self._values.update(secret.value for secret in fresh)
        taken = [self._named(secret) for secret in fresh]
        self.masker.learn(taken)
        # Together, because the table is large; one that is too much like others must not keep
        # the rest out.
        if not self._watch(taken, holder):
            taken = [secret for secret in taken if self._watch([secret], holder)]
        if len(new) > len(taken):
            self._news.append(Loss(now_ns(), "secrets", len(new) - len(taken)))

    def held(self, values: Iterable[bytes], holder: Holder) -> None:
        """Tell which of ``values`` are secrets that are watched, once for each step."""
        for value in values if holder.tag else ():
            secret = self._watched.get(value)
            if secret is not None and self._is_news(secret, holder):
                self._news.append(self._found(secret, holder, now_ns()))

    def news(self) -> list[Event]:
        """What was found since the last time."""
        news, self._news = self._news, []
        return news

    def _named(self, secret: Secret) -> Secret:
        """Of a name that is known already the second: a step may set a variable anew."""
        name = discovery.unique_name(secret.name, self._homes.keys() | self._declared)
        self._homes[name] = self._home(secret)
        return Secret(name, secret.value, source=secret.source)

    def _is_news(self, secret: Secret, holder: Holder) -> bool:
        """Whether it was not told yet that this step has it; ``False`` when there is no room."""
        told = secret.name, holder.tag
        if told in self._told or len(self._told) >= _MAX_TOLD:
            return False
        self._told.add(told)
        return True

    def _watch(self, secrets: Sequence[Secret], holder: Holder) -> bool:
        """Have them looked for, and reported; ``False`` if that cannot be."""
        try:
            needles = self.needles.extend(secrets)
        except UsageError:
            return False
        self._grown(needles)
        homes = {secret.name: self._homes[secret.name].mask for secret in secrets}
        if self._object is not None:
            try:
                fill.add(self._object, self.needles, needles, homes)
            except BpfError:
                return False
        self.needles = needles
        self.secrets += secrets
        self.grown_ns = now_ns()
        self._watched.update((secret.value, secret) for secret in secrets)
        for secret in secrets:
            if holder.tag:
                self._is_news(secret, holder)
            self._news.append(self._found(secret, holder, self.grown_ns))
        return True

    def _found(self, secret: Secret, holder: Holder, ts_ns: int) -> SecretFound:
        form, declared = formats.recognise(secret), secret.name in self._declared
        home = self._homes[secret.name] if not declared else self._home_by_name(secret) or _Home()
        return SecretFound(
            ts_ns=ts_ns,
            name=secret.name,
            source=holder.source or secret.source,
            format=form.kind if form else "",
            digest=hashlib.sha256(self._salt + secret.value).hexdigest()[:_DIGEST_CHARACTERS],
            home=home.words,
            placed_by=home.placed_by,
            guessed=home.mask is None and not declared,
            size=len(secret.value),
            pid=holder.pid,
        )

    def _home(self, secret: Secret) -> _Home:
        by_name = self._home_by_name(secret)
        if by_name is not None:
            return by_name
        form = formats.recognise(secret)
        mask = self._tables.format_homes.get(" ".join(form.home)) if form else None
        if form is None or mask is None:
            return _Home()
        return _Home(mask, form.home, "format")

    def _home_by_name(self, secret: Secret) -> _Home | None:
        home = self._policy.homes.get(secret.name)
        if home is None:
            return None
        return _Home(self._tables.homes[secret.name], home.text, home.placed_by)
