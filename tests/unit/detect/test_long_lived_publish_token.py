# SPDX-License-Identifier: MIT
"""Advice about upload tokens that Trusted Publishing would replace."""

from __future__ import annotations

import pytest

from leakstop.detect.long_lived_publish_token import REPLACEMENTS
from leakstop.engine.core import Engine
from leakstop.errors import ExitCode
from leakstop.model.finding import Severity
from leakstop.model.report import Job
from leakstop.policy.rules import Policy
from leakstop.secrets.catalogue import FORMATS
from story import DIGEST, Ends, Finds, FindsOnly, Story, found, secret, started, story

ID = "long-lived-publish-token"
JOB = Job(name="release", run_id="1")


def job(*kinds: str, where: Job = JOB) -> Story:
    """A job with declared tokens of these kinds, named T0, T1 …"""
    views = [secret(f"T{number}", kind=kind) for number, kind in enumerate(kinds)]
    policy = Policy(digest=DIGEST, fail_on=Severity.INFO)
    names = tuple(view.name for view in views)
    return story(Engine(policy, views, job=where)).sees(started(secrets=names))


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_a_declared_token_gets_the_lines_that_replace_it(kind: str) -> None:
    told = job(kind, "Stripe key")
    told.expects(FindsOnly(ID), Finds(ID, secret="T0", failing=False), Ends(ExitCode.CLEAN))
    advice = told.report.findings[0].what_to_do
    assert "id-token: write" in advice
    assert REPLACEMENTS[kind] in advice


def test_every_kind_is_one_of_the_catalogue() -> None:
    assert set(REPLACEMENTS) <= {form.kind for form in FORMATS}


def test_a_token_that_is_found_gets_them_once() -> None:
    told = job().sees(found("X", format="npm token"), found("X", format="npm token"))
    told.expects(Finds(ID, secret="X", count=1))


def test_a_second_guard_says_it_once() -> None:
    job("npm token").sees(started(secrets=("T0",))).expects(Finds(ID, count=1))


@pytest.mark.parametrize("where", [Job(), Job(run_id="1", fork=True)])
def test_without_a_proof_of_who_it_is_there_is_no_advice(where: Job) -> None:
    job("npm token", where=where).expects(FindsOnly())


def test_a_canary_is_no_token() -> None:
    job().sees(found("X", format="npm token", source="canary")).expects(FindsOnly())
