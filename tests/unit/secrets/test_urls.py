# SPDX-License-Identifier: MIT
"""Secrets that are URLs belong at the place that they name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.destination import parse
from leakstop.secrets.formats import home_of
from leakstop.secrets.inventory import Secret


@pytest.mark.parametrize(
    ("url", "home"),
    [
        ("mysql://u:p@db.test:3307/app", ("db.test:3307",)),
        ("redis://:p@cache:6379/0", ("cache:6379",)),
        ("amqps://u:p@queue.test/", ("queue.test:5671",)),
        ("postgresql://u:p@one.test,two.test:6432/app", ("one.test:5432", "two.test:6432")),
        ("postgres://u:p@[2001:db8::1]:5432/app", ("[2001:db8::1]:5432",)),
        ("postgres://u:p@192.0.2.1/app", ("192.0.2.1:5432",)),
        ("postgres://u:p%2Fq@db.test", ("db.test:5432",)),
        ("mongodb+srv://u:p@main.x1.db.test/app", ("**.x1.db.test:*",)),
        ("jdbc:mysql://db.test/app?user=u&password=word", ("db.test:3306",)),
        ("jdbc:db2://db.test:50000/app:user=u;password=word;", ("db.test:50000",)),
        ("jdbc:db2://db.test/app:user=u;password=word;", ()),
        ("jdbc:sqlserver://db.test;databaseName=app;password=word", ()),
        ("jdbc:mysql:loadbalance://one.test,two.test/app?password=word", ()),
        ("postgres://u:p@my_db/app", ("my_db:5432",)),
        # Where the host cannot be told for sure, nothing is placed.
        ("postgres://u:p@%2Fvar%2Frun/app", ()),
        ("postgres://u:p@-db.test/app", ()),
        ("postgres://u:p@db..test/app", ()),
        ("postgres://u:p@[db]/app", ()),
        ("postgres://u:p@[fe80::1%eth0]/app", ()),
        ("mongodb+srv://u:p@a.192.0.2.1/app", ()),
        ("postgres://u:p@[192.0.2.1]/app", ()),
        ("postgres://u:p@192.0.2.256/app", ()),
        ("postgres://u:p@db.test:0/app", ()),
        ("postgres://u:p@db.test:65536/app", ()),
        ("postgres://u:p@one.test,two-.test/app", ()),
        ("postgres://u:p@db.test:port/app", ()),
        ("postgres://u:p/q@db.test/app", ()),
        ("mongodb+srv://u:p@main/app", ()),
        ("mongodb+srv://u:p@main.co.test/app", ()),
    ],
)
def test_the_home_of_a_database_url_is_its_own_place(url: str, home: tuple[str, ...]) -> None:
    assert home_of(Secret("DATABASE_URL", url.encode())) == home


@given(st.text(st.sampled_from("aA1-_.:@,/?#[]%*{}é \n"), max_size=30))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_every_home_is_one_that_a_policy_can_hold(text: str) -> None:
    ref = RuleRef(text="", source="format")
    for scheme in ("postgres", "mongodb+srv"):
        for home in home_of(Secret("T", f"{scheme}://user:word@{text}".encode())):
            assert parse(home, Action.ALLOW, ref)
