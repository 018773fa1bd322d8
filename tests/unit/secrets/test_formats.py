# SPDX-License-Identifier: MIT
"""Token shapes. Examples are made when the tests run: no token-like text is in this file."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.destination import parse
from leakstop.secrets.formats import FORMATS, Format, home_of, recognise, view
from leakstop.secrets.inventory import Secret

RANDOM = random.Random(5)
LETTERS = string.ascii_letters
ALNUM = LETTERS + string.digits
URLSAFE = ALNUM + "-_"
LOWER_HEX = "0123456789abcdef"
BASE64 = ALNUM + "+/"


def some(alphabet: str, length: int) -> str:
    return "".join(RANDOM.choices(alphabet, k=length))


def jwt() -> str:
    return f"ey{some(URLSAFE, 34)}.ey{some(URLSAFE, 120)}.{some(URLSAFE, 342)}"


def private_key(kind: str) -> str:
    return f"-----BEGIN {kind}-----\n{some(BASE64, 64)}\n{some(BASE64, 40)}\n-----END {kind}-----"


def service_account() -> str:
    return json.dumps(
        {
            "type": "service_account",
            "private_key_id": some(LOWER_HEX, 40),
            "private_key": private_key("PRIVATE KEY"),
        },
        indent=2,
    )


def sas() -> str:
    return f"sv=2024-11-04&ss=b&srt=o&sp=rl&se=2027-01-01T00:00:00Z&sig={some(ALNUM, 43)}%3D"


# kind, name of the secret, value, home
Example = tuple[str, str, Callable[[], str], tuple[str, ...]]
GITHUB, NOWHERE, UNPLACED = ("github",), ("nowhere",), ()
ACCOUNT = "acct.blob.test"

EXAMPLES: list[Example] = [
    ("GitHub job token", "GITHUB_TOKEN", lambda: "ghs_" + some(ALNUM, 36), GITHUB),
    ("GitHub job token", "GITHUB_TOKEN", lambda: f"ghs_15368_{jwt()}", GITHUB),
    ("GitHub app installation token", "T", lambda: "ghs_" + some(ALNUM, 36), GITHUB),
    ("GitHub app installation token", "T", lambda: f"ghs_15368_{jwt()}", GITHUB),
    ("GitHub personal access token", "T", lambda: "ghp_" + some(ALNUM, 36), GITHUB),
    ("GitHub personal access token", "GITHUB_TOKEN", lambda: "ghp_" + some(ALNUM, 36), GITHUB),
    (
        "GitHub personal access token",
        "T",
        lambda: f"github_pat_{some(ALNUM, 22)}_{some(ALNUM, 59)}",
        GITHUB,
    ),
    ("GitHub OAuth token", "T", lambda: "gho_" + some(ALNUM, 36), GITHUB),
    ("GitHub OAuth token", "T", lambda: "ghu_" + some(ALNUM, 36), GITHUB),
    ("GitHub OAuth token", "T", lambda: "ghr_" + some(ALNUM, 76), GITHUB),
    ("GitHub token", "GITHUB_TOKEN", lambda: some(LOWER_HEX, 40), GITHUB),
    ("GitHub Actions runtime token", "ACTIONS_RUNTIME_TOKEN", jwt, ("runner", "github")),
    ("GitHub Actions runtime token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", jwt, ("runner", "github")),
    ("npm token", "T", lambda: "npm_" + some(ALNUM, 36), ("registry:npm", "publish:npm")),
    ("Python package index token", "T", lambda: "pypi-" + some(URLSAFE, 160), ("publish:pip",)),
    ("Docker Hub token", "T", lambda: "dckr_pat_" + some(URLSAFE, 27), UNPLACED),
    ("Docker Hub token", "T", lambda: "dckr_oat_" + some(URLSAFE, 32), UNPLACED),
    ("NuGet API key", "T", lambda: "oy2" + some(string.ascii_lowercase, 43), UNPLACED),
    ("RubyGems API key", "T", lambda: "rubygems_" + some(LOWER_HEX, 48), UNPLACED),
    ("Rust crate registry token", "T", lambda: "cio" + some(ALNUM, 32), UNPLACED),
    ("GitLab token", "T", lambda: "glpat-" + some(URLSAFE, 20), UNPLACED),
    ("GitLab token", "T", lambda: f"glpat-{some(URLSAFE, 27)}.01.{some(ALNUM, 9)}", UNPLACED),
    ("AWS access key id", "T", lambda: "AKIA" + some("ABCDEFGH234567", 16), UNPLACED),
    ("AWS secret access key", "AWS_SECRET_ACCESS_KEY", lambda: some(BASE64, 40), NOWHERE),
    ("AWS secret access key", "PROD_AWS_SECRET_KEY", lambda: some(BASE64, 40), NOWHERE),
    ("Google Cloud service account key", "T", service_account, NOWHERE),
    ("Google API key", "T", lambda: "AIza" + some(URLSAFE, 35), UNPLACED),
    ("Azure storage key", "T", lambda: some(BASE64, 86) + "==", UNPLACED),
    (
        "Azure storage key",
        "T",
        lambda: f"AccountName=a;AccountKey={some(BASE64, 86)}==;EndpointSuffix=store.test",
        UNPLACED,
    ),
    ("Azure shared access signature", "T", sas, UNPLACED),
    ("Azure shared access signature", "T", lambda: "?" + sas(), UNPLACED),
    (
        "Azure shared access signature",
        "T",
        lambda: f"https://{ACCOUNT}/box/file?{sas()}",
        (f"{ACCOUNT}:443",),
    ),
    (
        "Slack token",
        "T",
        lambda: f"xoxb-{some(string.digits, 12)}-{some(ALNUM, 24)}",
        ("slack.com", "**.slack.com"),
    ),
    (
        "Slack webhook",
        "T",
        lambda: f"https://hooks.slack.com/services/{some(ALNUM, 44)}",
        ("hooks.slack.com:443",),
    ),
    ("Stripe key", "T", lambda: "sk_live_" + some(ALNUM, 99), ("**.stripe.com",)),
    ("Stripe key", "T", lambda: "rk_test_" + some(ALNUM, 24), ("**.stripe.com",)),
    (
        "Anthropic API key",
        "T",
        lambda: f"sk-ant-api03-{some(URLSAFE, 93)}AA",
        ("**.anthropic.com",),
    ),
    (
        "Anthropic API key",
        "T",
        lambda: f"sk-ant-oat01-{some(URLSAFE, 93)}AA",
        ("**.anthropic.com",),
    ),
    ("OpenAI API key", "T", lambda: f"sk-proj-{some(URLSAFE, 148)}", ("**.openai.com",)),
    (
        "OpenAI API key",
        "T",
        lambda: f"sk-{some(ALNUM, 20)}T3BlbkFJ{some(ALNUM, 20)}",
        ("**.openai.com",),
    ),
    ("Hugging Face token", "T", lambda: "hf_" + some(ALNUM, 34), UNPLACED),
    ("Vault token", "T", lambda: "hvs." + some(URLSAFE, 95), UNPLACED),
    ("Cloudflare API token", "T", lambda: f"cfut_{some(ALNUM, 40)}{some(LOWER_HEX, 8)}", UNPLACED),
    ("private key", "T", lambda: private_key("OPENSSH PRIVATE KEY"), NOWHERE),
    ("private key", "T", lambda: private_key("PRIVATE KEY"), NOWHERE),
    ("private key", "T", lambda: private_key("PGP PRIVATE KEY BLOCK"), NOWHERE),
    (
        "database URL",
        "T",
        lambda: f"postgres://app:{some(ALNUM, 20)}@db.test/app?sslmode=require",
        ("db.test:5432",),
    ),
    ("JSON Web Token", "T", jwt, UNPLACED),
]


@pytest.mark.parametrize(
    ("kind", "name", "value", "home"), EXAMPLES, ids=[f"{e[0]} {i}" for i, e in enumerate(EXAMPLES)]
)
def test_shape(kind: str, name: str, value: Callable[[], str], home: tuple[str, ...]) -> None:
    for _ in range(20):
        secret = Secret(name, value().encode())
        found = recognise(secret)
        assert found is not None and found.kind == kind
        assert home_of(secret) == home


def test_every_format_has_an_example() -> None:
    assert {form.kind for form in FORMATS} == {example[0] for example in EXAMPLES}


@pytest.mark.parametrize(
    "value",
    [
        "npm_" + some(ALNUM, 35),
        "npm_" + some(ALNUM, 37),
        "x npm_" + some(ALNUM, 36),
        "ghp_" + some(ALNUM, 30),
        "AKIA" + some(LOWER_HEX, 16),
        some(BASE64, 40),
        "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----",
        "https://hooks.test/services/" + some(ALNUM, 40),
        "postgres://db.test/app",
        '{"type": "authorized_user"}',
        some(ALNUM, 32),
    ],
)
def test_nearly_a_shape(value: str) -> None:
    assert recognise(Secret("T", value.encode())) is None


def test_invalid_utf8_is_no_shape() -> None:
    assert recognise(Secret("T", b"\xff\xfe\x80" * 8)) is None


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


def test_every_word_is_one_that_a_policy_can_hold() -> None:
    ref = RuleRef(text="", source="format")
    for form in FORMATS:
        assert form.home == NOWHERE or "nowhere" not in form.home
        for home in form.home if form.home != NOWHERE else ():
            assert parse(home, Action.ALLOW, ref, presets=("github", "runner"))


def test_only_the_jobs_own_tokens_are_short_lived() -> None:
    assert {form.kind for form in FORMATS if form.short_lived} == {
        "GitHub job token",
        "GitHub Actions runtime token",
    }


def test_revoke_pages_are_https_or_words() -> None:
    for form in FORMATS:
        assert form.revoke.startswith("https://") or "://" not in form.revoke
        assert form.revoke or form.short_lived or form.kind == "JSON Web Token"


def test_view_holds_no_value() -> None:
    secret = Secret("NPM_TOKEN", f"npm_{some(ALNUM, 36)}".encode())
    shown = view(secret, home_of(secret), "format")
    assert (shown.name, shown.kind) == ("NPM_TOKEN", "npm token")
    assert (shown.home, shown.placed_by) == (("registry:npm", "publish:npm"), "format")
    assert "npm token revoke" in shown.revoke
    assert not shown.short_lived
    assert secret.value.decode()[4:] not in repr(shown)


def test_view_of_an_unknown_kind() -> None:
    shown = view(Secret("T", b"home-made-value"), (), "")
    assert (shown.kind, shown.revoke, shown.home, shown.short_lived) == ("", "", (), False)


def test_a_format_without_pattern_and_name_would_fit_everything() -> None:
    assert Format(kind="any").matches(Secret("T", b"12345678"))
    assert all(form.pattern or form.name for form in FORMATS)
