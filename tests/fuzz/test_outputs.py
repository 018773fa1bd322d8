# SPDX-License-Identifier: MIT
"""No output of ours holds a secret, in any encoding that we know, whatever the job does with it.

Events are made as the sensors make them: what may hold a secret goes through the masker. Then every
renderer, the journal, the files beside it, and every error path is searched for each needle.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from leakstop.cli import main as entry
from leakstop.daemon import fold
from leakstop.daemon.journal import Journal
from leakstop.daemon.request import ArmRequest, request_from_json, request_to_json
from leakstop.engine.core import Engine
from leakstop.errors import LeakstopError, UsageError, trace
from leakstop.model.channel import Channel, Tie
from leakstop.model.codec import event_to_json
from leakstop.model.event import Event
from leakstop.model.report import Job
from leakstop.model.verdict import Carriage, Leak
from leakstop.policy.canonical import to_canonical
from leakstop.policy.rules import Policy
from leakstop.report import annotations, json_v1, record, summary, text
from leakstop.report.summary import Detail
from leakstop.secrets import formats
from leakstop.secrets.encodings import Needle, needles_of
from leakstop.secrets.inventory import Secret, from_environment, parse_input
from leakstop.secrets.masker import Masker
from story import (
    DIGEST,
    LEAKING,
    PASSED,
    answers,
    asks,
    carrying,
    connects,
    execs,
    finished,
    fork,
    found,
    looked_into,
    sees_shape,
    shows,
    started,
    step,
    writes,
)
from unit.policy.written import built

FEW = settings(max_examples=60, deadline=None, derandomize=True, database=None)
NAME = "NPM_TOKEN"
IP = "198.51.100.7"

texts = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60),
    st.text("aB3$\"'\\`<>|&;{}[]()%+/=~é€\n\t *", min_size=12, max_size=80),
    st.lists(
        st.text("abcdefXYZ0123456789+/", min_size=20, max_size=64), min_size=2, max_size=4
    ).map("\n".join),
    st.binary(min_size=12, max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
seeds = st.integers(0, 1000)


@st.composite
def secrets(draw: st.DrawFn) -> Secret:
    """A value that can be watched."""
    value = draw(texts)
    assume("\0" not in value)
    try:
        secret = from_environment(NAME, value)
    except UsageError:
        secret = None
    assume(secret is not None)
    assert secret is not None
    return secret


@lru_cache(maxsize=8)
def forms(secret: Secret) -> tuple[Needle, ...]:
    """Everything that gives ``secret`` away."""
    return needles_of(secret)


@lru_cache(maxsize=8)
def spellings(secret: Secret) -> frozenset[bytes]:
    """Those, as they are and as JSON writes them."""
    plain = {needle.data for needle in forms(secret)}
    texts = (form.decode("utf-8", "surrogateescape") for form in plain)
    return frozenset(plain | {json.dumps(text)[1:-1].encode() for text in texts})


def search(secret: Secret, *outputs: str | bytes) -> None:
    """Fail if an output holds a form of ``secret``."""
    for output in outputs:
        data = output if isinstance(output, bytes) else output.encode("utf-8", "surrogateescape")
        for spelling in spellings(secret):
            at = data.find(spelling)
            assert at < 0, f"found in …{data[max(0, at - 60) : at + 60]!r}…"


def story(secret: Secret, seed: int) -> list[Event]:
    """A job that writes one form of its secret into everything that it can."""
    mask = Masker([secret]).mask
    needle = forms(secret)[seed % len(forms(secret))]
    form = needle.data.decode("utf-8", "surrogateescape")
    name = mask(f"a.{form}.test", cut=False).lower()
    exe = mask(f"/tmp/{form}", cut=False)
    argv = tuple(mask(word, cut=False) for word in ("curl", "-d", f"t={form}", form, f"x{form}y"))
    hits = carrying(NAME, encoding=needle.encoding)
    sent: dict[str, Any] = {"hits": hits, "carriage": Carriage.FAIL}
    return [
        started(worker_pid=9, secrets=(NAME,)),
        fork(20, 9),
        execs(20, exe, *argv, ppid=9, hits=hits),
        step(20, mask(f"Deploy {form}")),
        found(mask(form), source=f"environment of {exe}", pid=20, format="npm token"),
        asks(20, name, LEAKING, hits=hits, in_name=True),
        asks(20, name, PASSED, **sent),
        answers(name, IP),
        connects(20, IP, verdict=PASSED, **sent),
        connects(20, "203.0.113.9", 80, LEAKING, hits=hits),
        shows(20, IP, name, verdict=PASSED, cookie=7, **sent),
        looked_into(20, name),
        writes(20, IP, name, verdict=LEAKING, hits=hits, cookie=7),
        writes(20, IP, name, verdict=PASSED, tie=Tie.FLOWS, late=True, **sent),
        writes(20, IP, verdict=PASSED, channel=Channel.TCP, **sent),
        sees_shape(20, IP, "npm token", name),
        finished(),
    ]


def engine_of(secret: Secret, leak: Leak) -> Engine:
    view = formats.view(secret, (), "")
    return Engine(Policy(digest=DIGEST, leak=leak), [view], job=Job("build", run_id="1"))


@FEW
@given(secrets(), seeds, st.sampled_from(Leak))
def test_every_form_of_a_report(secret: Secret, seed: int, leak: Leak) -> None:
    engine = engine_of(secret, leak)
    events = story(secret, seed)
    commands = [command for event in events for command in engine.feed(event)]
    report = engine.report()
    assert report.findings, "nothing was told, so nothing was searched"
    search(
        secret,
        *(json.dumps(event_to_json(event)) for event in events),
        *map(repr, (commands, report, secret)),
        *(summary.render(report, detail=detail) for detail in Detail),
        annotations.render(report),
        text.render(report),
        json_v1.render(report),
        record.render(report),
    )


@settings(FEW, max_examples=15)
@given(secrets(), seeds)
def test_every_file_of_the_agent(secret: Secret, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = files_of(secret, seed, Path(folder))
    assert len(files) == 3
    search(secret, *files)


def files_of(secret: Secret, seed: int, folder: Path) -> list[bytes]:
    """What the agent writes into its directory about a job."""
    journal = Journal.create(folder / "journal")
    state = fold.State(
        Policy(digest=DIGEST),
        (formats.view(secret, (), ""),),
        Job(),
        (),
        folder / "journal",
    )
    fold.save_state(folder, state)
    for event in story(secret, seed):
        journal.write(event)
    journal.close()
    fold.save_final(folder, fold.fold(state), state.run)
    return [file.read_bytes() for file in folder.iterdir()]


# -- errors -------------------------------------------------------------------------------

INPUTS: tuple[Callable[[str], str], ...] = (
    lambda value: value,
    lambda value: f"{NAME}={value}\n{value}",
    lambda value: f"{NAME}={value}\n{NAME}={value}",
    lambda value: f"{NAME}@={value}",
    lambda value: f"{NAME}@a.test,,b={value}",
    lambda value: f"{NAME}={value}\nB={value[:7]}",
    lambda value: f"{NAME} = {value} = {value}",
    lambda value: f'{NAME}="{value}',
    lambda value: f"{{\n{json.dumps({NAME: value})}",
    lambda value: f"{NAME}={value}\udcff\ud800",
)


@FEW
@given(secrets(), st.sampled_from(INPUTS))
def test_errors_of_the_input(secret: Secret, write: Callable[[str], str]) -> None:
    value = secret.value.decode("utf-8", "surrogateescape")
    try:
        parse_input(write(value))
    except UsageError as error:
        search(secret, *_said(error))


POLICIES: tuple[Callable[[str], str], ...] = (
    lambda value: f"secrets: {{{NAME}: {value}}}",
    lambda value: f"secrets:\n  {NAME}: {value}\n  {NAME}: {value}",
    lambda value: f"secrets:\n  {NAME}: {json.dumps(value)}",
    lambda value: f"secrets:\n  {NAME}: [a.test, {json.dumps(value)}]",
    lambda value: f"secrets:\n  {NAME}: [nowhere, {json.dumps(value)}]",
    lambda value: f"secrets:\n  {NAME}: {{home: {json.dumps(value)}}}",
    lambda value: f"secrets:\n  {NAME}: {{to: {json.dumps(value)}, step: x}}",
    lambda value: f"secrets:\n  {json.dumps(value)}: a.test",
    lambda value: f"secrets:\n  - {json.dumps(value)}",
    lambda value: f"secrets:\n  {NAME}={value}",
    lambda value: f"secrets: |\n  {NAME}={value}",
    lambda value: f'secrets:\n  {NAME}: "{value}',
)


@FEW
@given(secrets(), st.sampled_from(POLICIES))
def test_errors_of_a_policy(secret: Secret, write: Callable[[str], str]) -> None:
    """A value where the home belongs: the place where a workflow would put one by mistake."""
    value = secret.value.decode("utf-8", "replace")
    with contextlib.suppress(LeakstopError):
        try:
            built(write(value))
        except LeakstopError as error:
            search(secret, *_said(error))
            raise


@settings(FEW, max_examples=20)
@given(secrets(), st.sampled_from(POLICIES))
def test_errors_of_check_and_explain(secret: Secret, write: Callable[[str], str]) -> None:
    value = secret.value.decode("utf-8", "replace")
    with tempfile.TemporaryDirectory() as folder:
        said = answers_about(f"version: 1\n{write(value)}\n", Path(folder))
    assert said
    search(secret, *said)


def answers_about(policy: str, folder: Path) -> list[str]:
    """What ``check`` and ``explain`` print about a policy."""
    file = folder / "policy.yml"
    file.write_text(policy, "utf-8", errors="replace")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.stdout", _Ear(said))
        patch.setattr("sys.stderr", _Ear(said))
        entry.main(["check", str(file)])
        entry.main(["explain", str(file), "a.test"])
    return said


@FEW
@given(secrets())
def test_the_compiled_policy(secret: Secret) -> None:
    policy = built(f"secrets: {{{NAME}: a.test}}").policy
    search(secret, to_canonical(policy))


def breakages(document: Any) -> Iterator[Any]:
    """The document, with each part of it replaced by one of another kind."""
    for other in (None, 7, [], {}, ["x"]):
        if isinstance(document, dict):
            for key, part in document.items():
                yield {**document, key: other}
                for broken in breakages(part):
                    yield {**document, key: broken}
        elif isinstance(document, list):
            for broken in breakages(document[0]) if document else ():
                yield [broken]


@settings(FEW, max_examples=15)
@given(secrets())
def test_errors_of_a_request(secret: Secret) -> None:
    document = json.loads(
        json.dumps(request_to_json(ArmRequest(b"{}", (secret,), Job(name="build"))))
    )
    moved = {**document, "job": document["secrets"], "policy": document["secrets"]}
    said = [words for broken in (moved, *breakages(document)) for words in _refusal(broken)]
    assert len(said) > 100
    search(secret, *said)


def _refusal(document: Any) -> tuple[str, ...]:
    try:
        request_from_json(document)
    except UsageError as error:
        return _said(error)
    return ()


@FEW
@given(secrets(), st.sampled_from([KeyError, ValueError, RuntimeError, OSError]))
def test_a_fault_of_ours(secret: Secret, kind: type[Exception]) -> None:
    value = secret.value.decode("utf-8", "surrogateescape")
    said: list[str] = []

    def fail(_: Any) -> int:
        try:
            json.loads(value + "{")
            raise kind(value)
        except ValueError as error:
            raise kind(value) from error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", _Ear(said))
        patch.setattr(entry, "_dispatch", fail)
        assert entry.main(["report"]) == 1
        event = execs(20, "curl")
        engine = engine_of(secret, Leak.KILL)
        patch.setattr(engine, "_follow", fail)
        with contextlib.suppress(Exception):
            fold.feed(engine, event)
    assert "fail" in "".join(said)
    search(secret, *said)


class _Ear:
    """Hears what is printed."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def write(self, words: str) -> int:
        self._said.append(words)
        return len(words)

    def flush(self) -> None:
        pass


def _said(error: LeakstopError) -> tuple[str, ...]:
    """All that any handler of ours could print of ``error``."""
    return (str(error), repr(error), error.what, error.why, error.fix, error.where, trace(error))
