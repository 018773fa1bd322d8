# SPDX-License-Identifier: MIT
"""What an agent has attached is taken over by the next one: links and filters on interfaces, and
probes in files. It has nothing but the pins."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from lab import Lab
from lab.departures import departures
from lab.namespace import Namespace
from leakstop.bpf import pins, tc
from leakstop.bpf.libbpf import BpfError, Object
from leakstop.model.channel import Library
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.needles import build
from leakstop.sensor.inheritance import Inheritance
from leakstop.sensor.load import load, uprobes
from leakstop.sensor.tls import files
from leakstop.sensor.tls.files import Version, opened
from leakstop.sensor.tls.functions import Place
from leakstop.sensor.tls.probes import PinnedProbe, Probe, Probes, attacher, inherit

pytestmark = pytest.mark.root

DEVICE, PROGRAM = "service0", "on_departure"
OFFSET = 64
"""In a file that nobody executes: nothing is decoded there."""


@pytest.fixture
def first() -> Iterator[Object]:
    """The programs as the agent before has loaded them."""
    with closing(_loaded()) as made:
        yield made


@pytest.fixture
def second() -> Iterator[Object]:
    """The same once more."""
    with closing(_loaded()) as made:
        yield made


def _loaded() -> Object:
    return load(Policy(), compile_tables(Policy()), build(()))


@pytest.fixture
def directory(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "bpf"
    pins.mount(made)
    yield made
    lab.services.call(lambda: pins.release(made))


@pytest.fixture
def services(lab: Lab) -> Namespace:
    """Where the interface is. Pins are on our side: only the network is another one."""
    return lab.services


@pytest.fixture
def index(services: Namespace) -> int:
    return services.call(lambda: socket.if_nametoindex(DEVICE))


@pytest.fixture(params=[False, True], ids=["tcx", "clsact"])
def old(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the kernel is one without tcx."""
    if request.param:
        old_kernel(monkeypatch)
    return bool(request.param)


def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As below Linux 6.6, where there is no tcx."""

    def refuse(*_: int) -> None:
        raise BpfError("EINVAL")

    monkeypatch.setattr(tc.TcxLink, "create", refuse)


def left(services: Namespace, loaded: Object, directory: Path, index: int) -> dict[str, int]:
    """Attach, pin and forget it, as an agent that is killed does; what its supervisor holds."""

    def attach() -> None:
        made = tc.attach(loaded, PROGRAM, index)
        made.pin(directory)
        made.close()

    services.call(attach)
    return pins.held(directory)


def let_go(held: dict[str, int]) -> None:
    for descriptor in held.values():
        os.close(descriptor)


def on_interface(services: Namespace) -> int:
    """How many programs there are, by whichever way."""
    command = ["tc", "filter", "show", "dev", DEVICE, "egress"]
    filters = services.call(lambda: subprocess.check_output(command, text=True))
    return filters.count("direct-action") + departures(services, DEVICE)


def test_what_is_on_an_interface_is_taken_over_as_it_is(
    services: Namespace,
    directory: Path,
    index: int,
    first: Object,
    second: Object,
    old: bool,
) -> None:
    held = left(services, first, directory, index)
    assert [name.split("-")[:2] for name in held] == [["clsact" if old else "tcx", str(index)]]

    def adopt() -> None:
        for again in (False, True):
            taken = tc.adopt(second, PROGRAM, index, held)
            assert taken is not None
            assert taken.holds()
            if again:
                taken.pin(directory)
            taken.close()
        assert tc.adopt(second, PROGRAM, index + 1, held) is None, "another interface"
        assert tc.adopt(second, PROGRAM, index, {}) is None, "nothing was left"

    services.call(adopt)
    assert on_interface(services) == 1, "it is the one that was there"
    assert tc.was_on(index, held)
    assert not tc.was_on(index + 1, held)
    assert not tc.was_on(index, [])
    let_go(held)


def test_a_link_that_somebody_detached_is_not(
    services: Namespace, directory: Path, index: int, first: Object, second: Object
) -> None:
    held = left(services, first, directory, index)
    (name,) = held
    subprocess.run(["bpftool", "link", "detach", "pinned", directory / name], check=True)
    assert services.call(lambda: tc.adopt(second, PROGRAM, index, held)) is None
    assert tc.was_on(index, held), "so somebody took it off"
    let_go(held)


def test_a_filter_that_somebody_deleted_is_not(
    services: Namespace,
    directory: Path,
    index: int,
    first: Object,
    second: Object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old_kernel(monkeypatch)
    held = left(services, first, directory, index)
    delete = ["tc", "filter", "del", "dev", DEVICE, "egress"]
    services.call(lambda: subprocess.run(delete, check=True))
    assert services.call(lambda: tc.adopt(second, PROGRAM, index, held)) is None
    assert tc.was_on(index, held)
    let_go(held)


def test_nor_is_what_runs_another_program(
    services: Namespace,
    directory: Path,
    index: int,
    first: Object,
    second: Object,
    old: bool,
) -> None:
    held = left(services, first, directory, index)
    if old:  # the pin is of another program than the filter runs
        (name,) = held
        exchanged = {name: second.program_fd(PROGRAM)}
        assert services.call(lambda: tc.adopt(second, PROGRAM, index, exchanged)) is None
    else:
        assert services.call(lambda: tc.adopt(second, "on_egress", index, held)) is None
    let_go(held)


def test_the_maps_of_another_guard_do_not_fit(
    directory: Path, first: Object, second: Object
) -> None:
    with pytest.raises(BpfError, match="has no map"):
        Inheritance({}).fill(second)
    assert Inheritance({"on_connect4": -1}).link("on_connect4", second) is None


# -- probes ---------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which a function is found."""
    places = (Place(OFFSET, "on_tls_host", Library.OPENSSL),)
    monkeypatch.setattr(files.File, "places", lambda self: places)
    made = tmp_path / "library.so"
    shutil.copy("/bin/true", made)
    return made


def covered(probes: Probes, path: Path) -> bool:
    with opened(path) as file:
        assert file is not None
        return probes.cover(file)


def killed(probes: Probes) -> None:
    """An agent's descriptors go with it; what is pinned stays."""
    for known in probes._known.values():
        for probe in known.probes:
            assert isinstance(probe, PinnedProbe)
            probe._probe.close()


def pinned(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(f"{pins.PROBE}*"))


def test_probes_are_known_by_the_file_that_carries_them(
    directory: Path, first: Object, second: Object, library: Path
) -> None:
    before = Probes(attacher(uprobes(first), directory))
    assert covered(before, library)
    names = pinned(directory)
    assert len(names) == 1
    killed(before)
    found = inherit(directory)
    assert list(found) == [Version.of(library.stat())]

    def refuse(places: Sequence[Place], path: Path) -> tuple[Probe, ...]:
        raise AssertionError("it was attached once more")

    after = Probes(refuse, found)
    assert covered(after, library)
    assert pinned(directory) == names
    after.close()
    assert pinned(directory) == []


def test_a_file_that_changed_meanwhile_gets_new_ones(
    directory: Path, first: Object, second: Object, library: Path
) -> None:
    before = Probes(attacher(uprobes(first), directory))
    assert covered(before, library)
    (old,) = pinned(directory)
    killed(before)
    with library.open("ab") as file:
        file.write(bytes(8))
    after = Probes(attacher(uprobes(second), directory), inherit(directory))
    assert covered(after, library)
    (new,) = pinned(directory)
    assert new != old
    after.close()
    assert pinned(directory) == []
