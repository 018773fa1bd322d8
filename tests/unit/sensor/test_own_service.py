# SPDX-License-Identifier: MIT
"""Tokens of the known formats in calls of their own service: nobody declared them, all is well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leakstop.model.event import ShapeSeen
from leakstop.policy.merge import Overrides
from leakstop.secrets import formats
from leakstop.secrets.inventory import Secret
from unit.policy.written import built
from unit.secrets.test_formats import EXAMPLES
from unit.secrets.wraps import post
from unit.sensor.test_inspect import OTHER_IP, Bench, led, seen, tls

HOMES = tuple(home for home in formats.homes() if not any(":" in word for word in home))
"""Those that need no package manager to be asked."""
POLICY = built(overrides=Overrides(found_homes=HOMES)).policy
SERVICES = [
    pytest.param(value, word.replace("**", "api"), id=f"{kind}, {word}")
    for kind, _, value, _ in EXAMPLES
    for word in formats.home_of(Secret("", value().encode()))
    if "." in word and "test" not in word
]


@pytest.mark.parametrize(("value", "host"), SERVICES)
def test_a_call_of_its_own_service(value: Callable[[], str], host: str) -> None:
    bench = Bench(POLICY)
    bench.see(led(host, OTHER_IP), seen(host, OTHER_IP), tls(host))
    bench.piece(post(b"", f"Authorization: Bearer {value()}\r\n".encode()))
    assert [event.at_home for event in bench.ended() if isinstance(event, ShapeSeen)] == [True]
    bench.inspector.close()


def test_there_are_services() -> None:
    assert len(SERVICES) > 10
