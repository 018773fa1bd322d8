# SPDX-License-Identifier: MIT
"""Secrets in what is sent: inside TLS, in the open, and what only looks like one."""

from __future__ import annotations

import pytest

from leakstop.errors import ExitCode
from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.finding import Severity
from leakstop.model.flow import Transport
from leakstop.model.verdict import Carriage
from leakstop.secrets.catalogue import FORMATS
from leakstop.secrets.shape import Format
from story import (
    LEAKING,
    PASSED,
    Ends,
    Finds,
    FindsOnly,
    Lists,
    Story,
    allow_tls,
    answers,
    asks,
    carrying,
    connects,
    found,
    guarded,
    home,
    secret,
    sees_shape,
    spawns,
    step,
    writes,
)

IP = "198.51.100.7"


def job(*secrets: str, **policy: object) -> Story:
    """curl is connected to drop.test; NPM_TOKEN belongs elsewhere, OTHER_TOKEN right here."""
    views = [secret(name, size=40) for name in secrets or ("NPM_TOKEN", "OTHER_TOKEN")]
    homes = {
        "NPM_TOKEN": home(allow_tls("publish.test")),
        "OTHER_TOKEN": home(allow_tls("drop.test")),
    }
    return guarded(secrets=views, homes=homes, **policy).sees(  # type: ignore[arg-type]
        spawns(20, 1, "curl"),
        asks(20, "drop.test", PASSED),
        answers("drop.test", IP),
        connects(20, IP, verdict=PASSED),
    )


@pytest.mark.parametrize(
    ("channel", "id"),
    [
        (Channel.TLS, "secret-in-tls"),
        (Channel.TCP, "secret-in-payload"),
        (Channel.UDP, "secret-in-payload"),
    ],
)
def test_each_channel_has_its_detector(channel: Channel, id: str) -> None:
    library = Library.GNUTLS if channel is Channel.TLS else Library.NONE
    transport = Transport.UDP if channel is Channel.UDP else Transport.TCP
    told = job().sees(
        writes(
            20,
            IP,
            "drop.test",
            verdict=LEAKING,
            hits=carrying("NPM_TOKEN", encoding="hex"),
            channel=channel,
            library=library,
            transport=transport,
            tie=Tie.FLOWS,
        )
    )
    told.expects(
        FindsOnly(id),
        Finds(
            id,
            severity=Severity.CRITICAL,
            destination="drop.test:443",
            encoding="hex",
            channel=channel,
            library=library,
            tie=Tie.FLOWS,
            size=40,
            bytes_left=0,
            action_taken="Killed before its first byte: 0 of 40 bytes of NPM_TOKEN left.",
        ),
        Ends(ExitCode.FINDINGS),
    )


def test_what_had_left_before_is_said() -> None:
    hits = carrying("NPM_TOKEN")
    told = job().sees(
        writes(20, IP, verdict=LEAKING, hits=hits, channel=Channel.TCP, size=12, begun=True)
    )
    told.expects(Finds("secret-in-payload", bytes_left=39))
    assert "up to 39 of 40 bytes" in told.report.findings[0].action_taken


def test_only_the_secrets_that_do_not_belong_there_are_named() -> None:
    hits = carrying("NPM_TOKEN", "OTHER_TOKEN")
    told = job().sees(writes(20, IP, "drop.test", verdict=LEAKING, hits=hits))
    told.expects(FindsOnly("secret-in-tls"), Finds("secret-in-tls", secret="NPM_TOKEN"))


def test_many_writes_of_a_program_are_one_finding() -> None:
    told = job()
    for _ in range(3):
        told.sees(writes(20, IP, "drop.test", verdict=LEAKING, hits=carrying("NPM_TOKEN")))
    told.expects(Finds("secret-in-tls", count=3), Lists("drop.test:443", count=1))


@pytest.mark.parametrize(
    ("carriage", "severity"), [(Carriage.WARN, Severity.MEDIUM), (Carriage.NOTE, Severity.INFO)]
)
def test_an_unplaced_secret_asks_for_its_home(carriage: Carriage, severity: Severity) -> None:
    told = job("MINE").sees(
        writes(20, IP, "drop.test", verdict=PASSED, hits=carrying("MINE"), carriage=carriage)
    )
    told.expects(
        FindsOnly("secret-unplaced"),
        Finds("secret-unplaced", severity=severity, channel=Channel.TLS),
        Lists("drop.test:443", secrets=("MINE",)),
    )
    assert "`secrets: {MINE: drop.test}`" in told.report.findings[0].what_to_do


def test_a_canary_is_not_rotated_but_all_else_is() -> None:
    told = job().sees(
        found("aws profile deploy", source="canary", home=("nowhere",), placed_by="policy"),
        writes(20, IP, "drop.test", verdict=LEAKING, hits=carrying("aws profile deploy")),
    )
    advice = told.report.findings[0].what_to_do
    assert "canary" in advice
    assert "rotate every secret that the job could read" in advice
    assert "secrets: {" not in advice


def test_at_home_nothing_is_said() -> None:
    event = writes(20, IP, "drop.test", verdict=PASSED, hits=carrying("OTHER_TOKEN"))
    job().sees(event).expects(FindsOnly(), Lists("drop.test:443", secrets=("OTHER_TOKEN",)))


def test_a_secret_that_nobody_knows_breaks_nothing() -> None:
    told = job().sees(writes(20, IP, "drop.test", verdict=LEAKING, hits=carrying("GONE")))
    assert told.report.findings[0].action_taken.endswith("0 bytes of GONE left.")


@pytest.mark.parametrize(
    ("certain", "word"), [(False, "shape it could be"), (True, "checksum it is")]
)
def test_a_format_alone_warns_and_is_never_red(certain: bool, word: str) -> None:
    told = job(fail_on=Severity.INFO).sees(
        sees_shape(20, IP, "npm token", "drop.test", certain=certain)
    )
    told.expects(
        Finds("secret-shaped", severity=Severity.MEDIUM, destination="drop.test:443", secret=""),
        Ends(ExitCode.CLEAN),
    )
    finding = told.report.findings[0]
    assert f"By its {word}: npm token." in finding.action_taken
    assert finding.process.command == "curl"
    assert "npm token revoke" in finding.what_to_do


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.kind)
def test_without_a_home_a_format_is_only_a_note(form: Format) -> None:
    first = next(each for each in FORMATS if each.kind == form.kind)
    known = first.home or first.own_home
    told = job().sees(sees_shape(20, IP, form.kind, "drop.test"))
    told.expects(
        Finds("secret-shaped", severity=Severity.MEDIUM if known else Severity.INFO),
        Ends(ExitCode.CLEAN),
    )


def test_a_format_at_home_is_nothing() -> None:
    job().sees(sees_shape(20, IP, "npm token", "drop.test", at_home=True)).expects(FindsOnly())


def test_a_shape_belongs_to_its_step() -> None:
    told = guarded(worker=9).sees(spawns(20, 9, "curl"), step(20, "Build"))
    told.sees(sees_shape(20, IP, "a format of tomorrow"), sees_shape(20, IP, "npm token"))
    assert [finding.step for finding in told.report.findings] == ["Build", "Build"]
