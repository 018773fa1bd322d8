# SPDX-License-Identifier: MIT
"""Text to places: what is written, and what it covers."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from leakstop.policy.place import SHARDS, DestinationError, parse_names, parse_place
from leakstop.policy.rules import AddressPlace, NamePlace, Reach


@pytest.mark.parametrize(
    ("text", "covered", "not_covered"),
    [
        ("api.example.test", ["api.example.test"], ["a.api.example.test", "example.test"]),
        ("*.example.test", ["a.example.test"], ["a.b.example.test", "example.test"]),
        ("**.example.test", ["a.example.test", "a.b.example.test"], ["example.test"]),
    ],
)
def test_a_name_covers(text: str, covered: list[str], not_covered: list[str]) -> None:
    (place,) = parse_names(text)
    assert all(place.covers(name) for name in covered)
    assert not any(place.covers(name) for name in not_covered)


@pytest.mark.parametrize("text", ["API.Example.TEST", "api.example.test.", "Api.example.test."])
def test_case_and_trailing_dot_mean_nothing(text: str) -> None:
    assert parse_place(text) == (NamePlace("api.example.test"),)


def test_a_range_stands_for_its_names() -> None:
    places = parse_names("shard{0..19}.store.test")
    assert [place.name for place in places] == [f"shard{n}.store.test" for n in range(20)]


def test_two_labels_may_hold_a_range_each() -> None:
    places = parse_names("*.s{1..2}.z{3..4}.store.test")
    assert [str(place) for place in places] == [
        "*.s1.z3.store.test",
        "*.s1.z4.store.test",
        "*.s2.z3.store.test",
        "*.s2.z4.store.test",
    ]


def test_the_limit_of_names_is_reached_and_not_passed() -> None:
    assert len(parse_names("s{1..256}.store.test")) == SHARDS
    with pytest.raises(DestinationError, match="257 names"):
        parse_names("s{1..257}.store.test")
    with pytest.raises(DestinationError, match="stands for"):
        parse_names("a{0..99999999}.b{0..99999999}.store.test")


def test_an_international_name_is_its_a_label() -> None:
    assert parse_place("bücher.example.test") == (NamePlace("xn--bcher-kva.example.test"),)
    assert parse_place("**.Bücher.test") == (NamePlace("xn--bcher-kva.test", Reach.DEEP),)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
    ],
)
def test_an_address_is_a_network(text: str, network: str) -> None:
    assert parse_place(text) == (AddressPlace(ip_network(network)),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "*.",
        "a..test",
        "*.test",
        "**.co.uk",
        "a.*.test",
        "a*.example.test",
        "***.example.test",
        "-a.test",
        "a-.test",
        "a.test/x",
        "a" * 64 + ".test",
        ".".join(["a" * 60] * 5),
        "010.0.0.1",
        "1.2.3",
        "2130706433",
        "a.0x7f",
        "192.0.2.1/24",
        "fe80::1%eth0",
        "ü" * 70 + ".test",
        "{0..1",
        "a{}.test",
        "a{1}.test",
        "a{1...3}.test",
    ],
)
def test_what_is_no_place_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(DestinationError) as error:
        parse_place(text)
    assert error.value.what


def test_an_underscore_is_part_of_names_that_are_looked_up() -> None:
    assert parse_place("_http._tcp.example.test") == (NamePlace("_http._tcp.example.test"),)
