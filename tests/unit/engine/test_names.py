# SPDX-License-Identifier: MIT
"""Names of addresses, and what counts as one try."""

from __future__ import annotations

from dataclasses import replace

from leakstop.engine.names import Names
from story import answers, asks

IP = "198.51.100.7"
S = 1_000_000_000


def test_an_address_without_answer_has_no_name() -> None:
    names = Names()
    assert (names.of(IP), names.host_for(IP), names.fresh(IP, 5)) == ((), "", True)


def test_all_names_are_kept_and_the_latest_is_shown() -> None:
    names = Names()
    for name in ("a.test", "b.test", "a.test"):
        names.answered(answers(name, IP, "2001:db8::7"))
    assert names.of(IP) == ("b.test", "a.test")
    assert names.host_for(IP) == names.host_for("2001:db8::7") == "a.test"


def test_a_process_is_shown_the_name_that_it_asked_for_last() -> None:
    names = Names()
    for name in ("a.test", "b.test", "c.test"):
        names.answered(answers(name, IP))
    for name in ("b.test", "a.test", "b.test", "elsewhere.test"):
        names.asked(asks(9, name))
    assert names.host_for(IP, 9) == "b.test"
    assert names.host_for(IP, 10) == "c.test"
    names.forget(9)
    assert names.host_for(IP, 9) == "c.test"


def test_a_name_that_was_asked_for_but_led_elsewhere_is_not_shown() -> None:
    names = Names()
    names.asked(asks(9, "a.test"))
    assert names.host_for(IP, 9) == ""


def test_the_two_questions_of_one_look_up_are_one_try() -> None:
    names = Names()
    tries = [names.asked(asks(9, "a.test", qtype=kind)) for kind in ("A", "AAAA", "A", "AAAA")]
    assert tries == [True, False, True, False]


def test_other_names_and_other_processes_are_other_tries() -> None:
    names = Names()
    assert names.asked(asks(9, "a.test"))
    assert names.asked(asks(9, "b.test", qtype="AAAA"))
    assert names.asked(asks(10, "a.test", qtype="AAAA"))


def test_names_stay_fresh_as_long_as_all_of_their_answers() -> None:
    names = Names()
    names.answered(replace(answers("a.test", IP, ttl_s=10), ts_ns=S))
    names.answered(replace(answers("b.test", IP, ttl_s=60), ts_ns=S))
    assert names.fresh(IP, 11 * S)
    assert not names.fresh(IP, 11 * S + 1)


def test_everything_is_bounded_and_the_oldest_goes_first() -> None:
    names = Names(addresses=3, processes=3)
    for number in range(10):
        names.answered(answers("a.test", f"198.51.100.{number}"))
        names.asked(asks(number, "a.test"))
        names.answered(answers(f"many{number}.test", IP))
    assert names.of("198.51.100.0") == ()
    assert names.of("198.51.100.9") == ("a.test",)
    assert names.asked(asks(0, "a.test", qtype="AAAA")), "process 0 was forgotten"
    for number in range(100):
        names.answered(answers(f"n{number}.test", IP))
        names.asked(asks(0, f"n{number}.test"))
    assert len(names.of(IP)) == 64
    assert names.host_for(IP) == "n99.test"
    assert names.asked(asks(0, "n0.test", qtype="AAAA")), "its first names were forgotten"


def test_names_are_bounded_over_all_addresses_and_all_processes() -> None:
    names = Names(names=100)
    for number in range(20):
        for label in range(10):
            names.answered(answers(f"n{label}.test", f"198.51.100.{number}"))
            names.asked(asks(number, f"n{label}.test"))
    kept = [number for number in range(20) if names.of(f"198.51.100.{number}")]
    assert kept == list(range(10, 20))
    assert names.asked(asks(9, "n0.test", qtype="AAAA")), "process 9 was forgotten"
    assert not names.asked(asks(19, "n0.test", qtype="AAAA"))


def test_what_is_forgotten_or_known_already_takes_no_room() -> None:
    names = Names(names=100)
    names.answered(answers("a.test", IP))
    names.asked(asks(1, "a.test"))
    for number in range(1000):
        names.answered(answers("b.test", "198.51.100.8"))
        names.asked(asks(2, f"n{number}.test"))
        names.forget(2)
    assert names.of(IP) == ("a.test",)
    assert not names.asked(asks(1, "a.test", qtype="AAAA"))


def test_many_types_of_one_name_are_many_tries() -> None:
    names = Names()
    tries = [names.asked(asks(1, "a.test", qtype=f"TYPE{number}")) for number in range(17)]
    assert [number for number, new in enumerate(tries) if new] == [0, 8, 16]


def test_what_is_used_again_is_not_the_oldest() -> None:
    names = Names(addresses=2, processes=2)
    for number in (1, 2, 1, 3):
        names.answered(answers("a.test", f"198.51.100.{number}"))
        names.asked(asks(number, "a.test"))
    assert names.of("198.51.100.1") == ("a.test",)
    assert names.of("198.51.100.2") == ()
    assert not names.asked(asks(1, "a.test", qtype="AAAA"))
    assert names.asked(asks(2, "a.test", qtype="AAAA"))
