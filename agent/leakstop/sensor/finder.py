# SPDX-License-Identifier: MIT
"""Finds the secrets that nobody declared: in environments at exec, in files when written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from leakstop.bpf import fill
from leakstop.bpf.libbpf import BpfError, Object
from leakstop.bpf.records import EventHead
from leakstop.model.event import Event, SecretHit
from leakstop.model.process import Tag
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import NeedleTable
from leakstop.sensor import proc
from leakstop.sensor.belated import Belated
from leakstop.sensor.credential_files import CredentialFiles
from leakstop.sensor.environments import Environments
from leakstop.sensor.inventory import Grown, Inventory
from leakstop.sensor.plan import GuardPlan


class Finder:
    """A ``Follower``; besides, it is shown each program before its command line is masked."""

    def __init__(self, plan: GuardPlan) -> None:
        self.belated = Belated(plan)
        """Judges what happened before something was found."""
        self._inventory = Inventory(plan)
        self._files = CredentialFiles(self._inventory)
        self._environments = Environments(
            self._inventory, self._files.variables, self._files.pointed
        )
        self._object: Object | None = None
        self._inherited = plan.inherited.found if plan.inherited else ()
        self._first = plan.root_pid if plan.scope == "command" else plan.worker_pid

    @property
    def masker(self) -> Masker:
        """Masks what was declared and what was found."""
        return self._inventory.masker

    @property
    def secrets(self) -> list[Secret]:
        """What was declared and what was found; grows."""
        return self._inventory.secrets

    @property
    def needles(self) -> NeedleTable:
        """Of what was declared and what was found."""
        return self._inventory.needles

    def open(self, loaded: Object, grown: Grown) -> None:
        """Tell the programs of ``loaded``, and ``grown``, of what is found from here on."""
        self._object = loaded
        self._inventory.open(loaded, grown)
        for secrets in self._inherited:
            self._inventory.take(secrets)

    def news(self) -> list[Event]:
        """What was found since the last time."""
        return self._inventory.news()

    def look(
        self, head: EventHead, tag: int, exe: str, raw: bytes, hits: tuple[SecretHit, ...]
    ) -> tuple[SecretHit, ...]:
        """Find what is secret in a program's environment, and look for it in its arguments.

        The kernel looked there when the program started, for what was known then: what is found
        on top of its ``hits`` is marked late, which is in time if nothing was sent yet.
        """
        self._environments.look(head.pid, exe, tag if tag >= Tag.STEPS else 0)
        late: dict[str, SecretHit] = {}
        for hit in self.needles.scan(raw) if head.ts <= self._inventory.grown_ns else ():
            late.setdefault(hit.secret, hit)
        for hit in hits:
            late.pop(hit.secret, None)
        self.belated.carries(head.pid, tuple(late.values()))
        if late:
            hits = (*hits, *late.values())
            self._mark(head, raw, hits)
        return hits

    # -- a follower -------------------------------------------------------------------------

    def start(self) -> tuple[str, ...]:
        """Begin with who starts the job: what it has, its children will have."""
        notes = self._files.start()
        if self._first:
            self._environments.look(self._first, proc.exe(self._first))
            self._files.work_in(self._first)
        return notes

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up for files, too."""
        self._files.wake(epoll)

    def see(self, event: Event) -> Iterable[Event]:
        """Environments are looked at earlier, in ``look``."""
        self.belated.see(event)
        return ()

    def follow(self) -> Iterable[Event]:
        """Read the files that were written; ``news`` has what was in them."""
        self._files.follow()
        return ()

    def close(self) -> None:
        """Stop watching."""
        self._files.close()

    def _mark(self, head: EventHead, raw: bytes, hits: tuple[SecretHit, ...]) -> None:
        shown = proc.cmdline(head.pid)
        # It may have become another program by now, which is judged by its own arguments.
        if self._object is None or shown is None or not b"\0".join(shown).startswith(raw[:-1]):
            return
        with contextlib.suppress(BpfError):  # the table is full; the event says what it carries
            fill.mark(self._object, self.needles, head.pid, head.start, hits)
