# SPDX-License-Identifier: MIT
"""What is made of secrets that are found: a home, a name, a digest, and nothing twice."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from leakstop.bpf import fill
from leakstop.model.coverage import Loss
from leakstop.model.event import Event, SecretFound
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import Home, NamePlace, Policy, PortRange, Protocol, Rule
from leakstop.secrets.inventory import Secret
from leakstop.sensor.environments import MAX_BYTES, Environments
from leakstop.sensor.inventory import Holder, Inventory
from plans import plan_of

RANDOM = random.Random(2)
ALNUM = string.ascii_letters + string.digits


def token(prefix: str = "", length: int = 36) -> str:
    return prefix + "".join(RANDOM.choices(ALNUM, k=length))


def home(name: str, *text: str, placed_by: str = "format") -> Home:
    place, ports = NamePlace(name), (PortRange(443, 443),)
    rule = Rule(Action.ALLOW, place, Protocol.TLS, ports, RuleRef(name, "test"))
    return Home(False, (rule,), text, placed_by)


POLICY = Policy(
    homes={"DEPLOY_TOKEN": home("deploy.test", "deploy.test", placed_by="policy")},
    format_homes={
        "github": home("github.test", "github"),
        "nowhere": Home(True, (), ("nowhere",), "format"),
    },
)


def inventory(
    *declared: Secret, keep: Callable[[Sequence[Secret]], None] = lambda _: None
) -> Inventory:
    return Inventory(plan_of(POLICY, declared, keep=keep))


def found(events: list[Event]) -> list[SecretFound]:
    assert all(isinstance(event, SecretFound) for event in events)
    return [event for event in events if isinstance(event, SecretFound)]


def test_the_home_of_what_is_found() -> None:
    mine = inventory()
    github, key, guess = token("ghp_"), token(length=40), token()
    mine.take(
        [
            Secret("ANY", github.encode(), (), "environment of sh"),
            Secret("AWS_SECRET_ACCESS_KEY", key.encode()),
            Secret("DEPLOY_TOKEN", token().encode()),
            Secret("OTHER_TOKEN", guess.encode(), (), "/home/ci/.npmrc"),
            Secret("GITLAB", token("glpat-", 20).encode()),
            Secret("NPM", token("npm_").encode()),
        ],
        Holder(pid=7),
    )
    told = {event.name: event for event in found(mine.news())}
    assert {name: (e.home, e.placed_by, e.guessed) for name, e in told.items()} == {
        "ANY": (("github",), "format", False),
        "AWS_SECRET_ACCESS_KEY": (("nowhere",), "format", False),
        "DEPLOY_TOKEN": (("deploy.test",), "policy", False),
        "OTHER_TOKEN": ((), "", True),
        "GITLAB": ((), "", True),  # of a format without a home
        "NPM": ((), "", True),  # its home is not in these tables
    }
    assert told["ANY"].format == "GitHub personal access token"
    assert (told["ANY"].source, told["ANY"].pid, told["ANY"].size) == ("environment of sh", 7, 40)
    assert mine.news() == []


def test_from_then_on_it_is_masked_and_looked_for() -> None:
    mine, value = inventory(), token()
    before = mine.grown_ns
    mine.take([Secret("A_TOKEN", value.encode())])
    assert mine.masker.mask(f"x={value}&y") == "x=***A_TOKEN***&y"
    assert [hit.secret for hit in mine.needles.scan(f"....{value}".encode())] == ["A_TOKEN"]
    assert mine.grown_ns > before
    assert [secret.value for secret in mine.secrets] == [value.encode()]


def test_a_value_counts_once_and_a_name_twice() -> None:
    one, two = token(), token()
    mine = inventory(Secret("TOKEN", one.encode()))
    mine.take([Secret("COPY_TOKEN", one.encode())])
    assert mine.news() == []
    mine.take([Secret("TOKEN", two.encode()), Secret("AGAIN", two.encode())])
    mine.take([Secret("TOKEN", two.encode())])
    assert [event.name for event in found(mine.news())] == ["TOKEN#2"]


def test_digests_tell_apart_and_are_another_in_each_job() -> None:
    value, other = token(), token()
    digests = []
    for _ in range(2):
        mine = inventory()
        mine.take([Secret("A", value.encode()), Secret("B", other.encode())])
        digests += [event.digest for event in found(mine.news())]
    assert len(set(digests)) == 4
    assert all(len(digest) == 8 and set(digest) <= set("0123456789abcdef") for digest in digests)


def test_the_bound_is_said() -> None:
    mine = inventory()
    mine.take([Secret(f"T{i}", token().encode()) for i in range(fill.SPARE_SECRETS + 3)])
    mine.take([Secret("ONE_MORE", token().encode())])
    news = mine.news()
    assert len([event for event in news if isinstance(event, SecretFound)]) == fill.SPARE_SECRETS
    losses = [(e.where, e.count, e.missed) for e in news if isinstance(e, Loss)]
    assert losses == [("secrets", 3, False), ("secrets", 1, False)]


def test_nothing_is_kept_of_what_is_beyond_it() -> None:
    kept: list[Secret] = []
    mine = inventory(keep=kept.extend)
    for _ in range(3):
        mine.take([Secret(f"T{i}", token().encode()) for i in range(fill.SPARE_SECRETS - 1)])
    assert len(kept) == fill.SPARE_SECRETS
    assert len(mine._values) == fill.SPARE_SECRETS


def test_one_that_cannot_be_told_apart_does_not_keep_the_rest_out() -> None:
    value, mine = token(length=40), inventory()
    alike = [Secret(f"A{i}", (value + str(i)).encode()) for i in range(10)]
    good = Secret("GOOD", token().encode())
    mine.take([*alike, good])
    names = {event.name for event in mine.news() if isinstance(event, SecretFound)}
    assert "GOOD" in names and names >= {"A0", "A1", "A2"}
    for each in (*alike, good):
        assert each.value.decode() not in mine.masker.mask(f"x {each.value.decode()} y")


# -- environments ---------------------------------------------------------------------------


class Process:
    """An environment in a made-up /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, pid: int, block: bytes) -> None:
        (self.root / str(pid)).mkdir(exist_ok=True)
        (self.root / str(pid) / "environ").write_bytes(block)


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path)


def test_each_environment_is_looked_at_once(process: Process) -> None:
    mine, pointed = inventory(), []
    looking = Environments(
        mine,
        frozenset({"HOME", "NETRC"}),
        lambda pid, variables: pointed.append((pid, variables)),
        process.root,
    )
    one, two = token(), token()
    process.has(5, f"HOME=/home/ci\0A_TOKEN={one}\0".encode())
    looking.look(5, "/usr/bin/bash")
    looking.look(5, "/usr/bin/bash")
    process.has(6, f"HOME=/home/ci\0A_TOKEN={one}\0B_TOKEN={two}\0".encode())
    looking.look(6, "/usr/bin/node")
    assert [(e.name, e.source, e.pid) for e in found(mine.news())] == [
        ("A_TOKEN", "environment of bash", 5),
        ("B_TOKEN", "environment of node", 6),
    ]
    assert pointed == [(5, {"HOME": "/home/ci"})], "told of places once"
    process.has(8, b"HOME=/home/ci\0NETRC=/tmp/n\0")
    looking.look(8, "")
    assert pointed[1:] == [(8, {"HOME": "/home/ci", "NETRC": "/tmp/n"})]


def test_each_step_that_has_a_secret_is_told_once(process: Process) -> None:
    declared, one = token(), token()
    mine = inventory(Secret("DECLARED", declared.encode()))
    looking = Environments(mine, frozenset(), lambda *_: None, process.root)
    for pid, block in (
        (5, f"A_TOKEN={one}\0"),
        (6, f"A_TOKEN={one}\0X=1\0"),
        (7, f"X=1\0COPY= {one}\0"),
        (8, f"A_TOKEN={one}\0"),
        (9, f"MINE={declared}\0X={one}x\0"),
    ):
        process.has(pid, block.encode())
    for pid, tag in ((5, 16), (6, 16), (7, 17), (8, 17), (8, 18), (9, 0), (9, 18), (9, 18)):
        looking.look(pid, "/usr/bin/sh", tag)
    told = found(mine.news())
    assert [(e.name, e.pid) for e in told] == [
        ("A_TOKEN", 5),
        ("A_TOKEN", 7),
        ("A_TOKEN", 8),
        ("DECLARED", 9),
    ]
    assert [e.guessed for e in told] == [True, True, True, False], "somebody called it a secret"
    assert len({e.digest for e in told}) == 2
    assert len(mine.secrets) == 2, "it is looked for once"


def test_of_a_declared_secret_the_home_is_the_policys(process: Process) -> None:
    placed, free = Secret("DEPLOY_TOKEN", token().encode()), Secret("X", token("ghp_").encode())
    mine = inventory(placed, free)
    mine.held((placed.value, free.value), Holder(5, 16))
    assert [(e.home, e.placed_by) for e in found(mine.news())] == [
        (("deploy.test",), "policy"),
        ((), ""),
    ]


def test_an_environment_may_be_anything(process: Process) -> None:
    mine, one, two = inventory(), token(), token("ghp_")
    process.has(5, f"HOME=/root\0DEPLOY_TOKEN={one}\0=\0broken\0\0A={two}\0".encode())
    Environments(mine, frozenset(), lambda *_: None, process.root).look(5, "")
    told = {event.name: event.source for event in found(mine.news())}
    source = "environment of a process"
    assert told == {"DEPLOY_TOKEN": source, "A": source}


def test_a_process_that_is_gone_has_none(process: Process) -> None:
    mine = inventory()
    Environments(mine, frozenset(), lambda *_: None, process.root).look(404, "")
    assert mine.news() == []


def test_of_a_huge_environment_the_beginning_is_read(process: Process) -> None:
    mine, one, two = inventory(), token(), token()
    looking = Environments(mine, frozenset(), lambda *_: None, process.root)
    filler = b"X=" + b"y" * MAX_BYTES
    process.has(5, f"A_TOKEN={one}\0".encode() + filler + f"\0B_TOKEN={two}\0".encode())
    looking.look(5, "sh")
    assert [event.name for event in found(mine.news())] == ["A_TOKEN"]
