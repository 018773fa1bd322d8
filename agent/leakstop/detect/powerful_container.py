# SPDX-License-Identifier: MIT
"""A container that is more than one: it reaches the machine that it runs on.

Why: whoever may ask a container engine for such a container is root on the machine, also without
sudo, and is past the guard as root is.
Sees: what the engine made of a request, whoever wrote it: privileged, the host's network, processes
or devices, capabilities by which one gets out, and mounts of what belongs to the machine.
Quiet when: a container is gone before its engine has said what it was, and where no engine that
is known made it.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.model.container import ContainerAsked
from leakstop.model.finding import Finding, Severity

META = DetectorMeta(
    id="powerful-container",
    title="A container reaches the machine that it runs on",
    severity=Severity.HIGH,
    needs=(ContainerAsked,),
    incident="CVE-2025-32955: a job without sudo became root by way of a privileged container",
    since="0.1.0",
)

_PRIVILEGED = "privileged"
_OWNED = frozenset({"the host's /", "the host's /proc", "the host's /etc"})
"""Who has one of these has the machine without any further trick."""
_ORDINARY = frozenset({"the host's /var/run/docker.sock", "the host's /run/docker.sock"})
"""The runner itself gives it to every container of an action (ContainerOperationProvider.cs)."""
_BUILDER = "moby/buildkit"


class PowerfulContainer(Detector[ContainerAsked]):
    """Reports each kind of container once."""

    meta = META

    def on_event(self, event: ContainerAsked, context: Context) -> Iterator[Sighting]:
        """Look at one container."""
        finding = Finding(
            id=META.id,
            severity=_severity(event),
            title=META.title,
            process=context.process,
            destination="",
            secret="",
            encoding="",
            step="",
            action_taken=(
                f"It was started from {event.image or 'an image without a name'} with "
                f"{', '.join(event.powers)}. What it does on the network is judged like the rest."
            ),
            what_to_do=_ADVICE,
            ts_ns=event.ts_ns,
        )
        yield Sighting((event.image, *event.powers), finding)


_ADVICE = (
    "If the job needs it, ask for no more than it needs: one capability (`--cap-add`), one device "
    "(`--device`), a published port instead of the host's network. If it does not, find out what "
    "asked for it; `lockdown: [docker]` takes the engine away from the job."
)


def _severity(event: ContainerAsked) -> Severity:
    powers = set(event.powers)
    processes = {_PRIVILEGED, "the host's processes"} <= powers
    if powers & _OWNED or processes:
        return Severity.HIGH
    builder = event.image.partition(":")[0] == _BUILDER and powers == {_PRIVILEGED}
    return Severity.INFO if builder or powers <= _ORDINARY else Severity.MEDIUM
