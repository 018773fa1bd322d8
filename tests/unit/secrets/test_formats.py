# SPDX-License-Identifier: MIT
"""Token shapes. Examples are made when the tests run: no token-like text is in this file."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from collections.abc import Callable
from functools import partial

import pytest

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.destination import parse
from leakstop.secrets.catalogue import FORMATS
from leakstop.secrets.formats import home_of, recognise, view
from leakstop.secrets.inventory import Secret
from leakstop.secrets.shape import Format

RANDOM = random.Random(5)
LETTERS = string.ascii_letters
ALNUM = LETTERS + string.digits
URLSAFE = ALNUM + "-_"
LOWER_HEX = "0123456789abcdef"
BASE64 = ALNUM + "+/"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


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


def discord_bot(digits: int) -> str:
    number = base64.b64encode(some(string.digits, digits).encode()).decode().rstrip("=")
    return f"{number}.{some(URLSAFE, 6)}.{some(URLSAFE, 38)}"


SENTRY_ORG = b'{"iat":1700000000.5,"url":"https://sentry.test","org":"o"}'

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
    ("AWS session token", "AWS_SESSION_TOKEN", lambda: some(BASE64, 356), UNPLACED),
    ("AWS Bedrock API key", "T", lambda: f"ABSK{some(BASE64, 127)}=", UNPLACED),
    ("Google OAuth access token", "T", lambda: f"ya29.a0{some(URLSAFE, 200)}", UNPLACED),
    (
        "Azure client secret",
        "T",
        lambda: f"{some(ALNUM, 3)}8Q~{some(ALNUM + '_.~-', 34)}",
        UNPLACED,
    ),
    (
        "Azure DevOps token",
        "T",
        lambda: f"{some(ALNUM, 52)}JQQJ99{some(ALNUM, 5)}{'A' * 13}AZDO{some(ALNUM, 4)}",
        UNPLACED,
    ),
    ("Azure storage key", "AZURE_STORAGE_KEY", lambda: some(BASE64, 86) + "==", UNPLACED),
    ("Azure storage key", "T", lambda: f"{some(BASE64, 76)}+ASt{some(BASE64, 5)}A==", UNPLACED),
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
        ("hooks.slack.com", "hooks.slack-gov.com"),
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
    (
        "Cloudflare API token",
        "CLOUDFLARE_API_TOKEN",
        lambda: some(ALNUM, 39) + "_",
        UNPLACED,
    ),
    ("Cloudflare API token", "CF_API_KEY", lambda: some(LOWER_HEX, 37), UNPLACED),
    (
        "Cloudflare origin CA key",
        "T",
        lambda: f"v1.0-{some(LOWER_HEX, 24)}-{some(LOWER_HEX, 146)}",
        UNPLACED,
    ),
    ("Stripe webhook secret", "T", lambda: "whsec_" + some(ALNUM, 32), UNPLACED),
    (
        "SendGrid API key",
        "T",
        lambda: f"SG.{some(URLSAFE, 22)}.{some(URLSAFE, 43)}",
        ("**.sendgrid.com", "**.sendgrid.net"),
    ),
    (
        "Telegram bot token",
        "T",
        lambda: f"{RANDOM.randrange(10**7, 10**10):08}:AA{some(URLSAFE, 33)}",
        ("**.telegram.org",),
    ),
    (
        "Discord webhook",
        "T",
        lambda: f"https://discord.com/api/webhooks/{some('123', 19)}/{some(URLSAFE, 68)}",
        ("discord.com", "**.discord.com", "discordapp.com", "**.discordapp.com"),
    ),
    *(
        (
            "Discord bot token",
            "T",
            partial(discord_bot, digits),
            ("discord.com", "**.discord.com", "**.discord.gg", "discordapp.com"),
        )
        for digits in (17, 18, 19, 20)
    ),
    ("Terraform token", "T", lambda: f"{some(ALNUM, 14)}.atlasv1.{some(URLSAFE, 67)}", UNPLACED),
    ("Sentry token", "T", lambda: f"sntryu_{some(LOWER_HEX, 64)}", UNPLACED),
    (
        "Sentry token",
        "T",
        lambda: f"sntrys_{base64.b64encode(SENTRY_ORG).decode()}_{some(BASE64, 43)}",
        UNPLACED,
    ),
    ("CircleCI token", "T", lambda: f"CCIPAT_{some(ALNUM, 22)}_{some(LOWER_HEX, 40)}", UNPLACED),
    ("Pulumi token", "T", lambda: f"pul-{some(LOWER_HEX, 40)}", UNPLACED),
    ("Datadog key", "DD_API_KEY", lambda: some(LOWER_HEX, 32), UNPLACED),
    ("Datadog key", "DATADOG_APP_KEY", lambda: some(LOWER_HEX, 40), UNPLACED),
    (
        "1Password service account token",
        "T",
        lambda: "ops_eyJ" + some(ALNUM, 700),
        ("**.1password.com", "**.1password.ca", "**.1password.eu"),
    ),
    ("age key", "T", lambda: "AGE-SECRET-KEY-1" + some(BECH32.upper(), 58), NOWHERE),
    ("private key", "T", lambda: private_key("OPENSSH PRIVATE KEY"), NOWHERE),
    ("private key", "T", lambda: private_key("PRIVATE KEY"), NOWHERE),
    ("private key", "T", lambda: private_key("PGP PRIVATE KEY BLOCK"), NOWHERE),
    (
        "database URL",
        "T",
        lambda: f"postgres://app:{some(ALNUM, 20)}@db.test/app?sslmode=require",
        ("db.test:5432",),
    ),
    (
        "database URL",
        "T",
        lambda: f"jdbc:postgresql://db.test:6543/app?user=app&password={some(ALNUM, 20)}",
        ("db.test:6543",),
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


def digest(kind: str, length: int = 40) -> bytes:
    return hashlib.new(kind, RANDOM.randbytes(length)).digest()


BENIGN: dict[str, Callable[[], str]] = {
    "UUID": lambda: str(uuid.UUID(int=RANDOM.getrandbits(128), version=4)),
    "UUID without hyphens": lambda: uuid.UUID(int=RANDOM.getrandbits(128), version=4).hex,
    "MD5": lambda: digest("md5").hex(),
    "commit": lambda: digest("sha1").hex(),
    "SHA-256": lambda: digest("sha256").hex(),
    "image": lambda: f"registry.test/app@sha256:{digest('sha256').hex()}",
    "SHA-512": lambda: digest("sha512").hex(),
    "SHA-1 in base64": lambda: base64.b64encode(digest("sha1")).decode(),
    "SHA-256 in base64": lambda: base64.b64encode(digest("sha256")).decode(),
    "SHA-512 in base64": lambda: base64.b64encode(digest("sha512")).decode(),
    "integrity": lambda: "sha512-" + base64.b64encode(digest("sha512")).decode(),
    "CDN hash": lambda: f"https://cdn.test/assets/index-{some(URLSAFE, 8)}.js?v={some(ALNUM, 20)}",
    "asset": lambda: f"main.{some(LOWER_HEX, 20)}.chunk.js",
    "data URI": lambda: f"data:image/png;base64,{some(BASE64, 400)}=",
    "session cookie": lambda: f"M{some(URLSAFE, 23)}.{some(URLSAFE, 6)}.{some(URLSAFE, 27)}",
    "module version": lambda: f"v0.0.0-20240102030405-{some(LOWER_HEX, 12)}",
    "build id": lambda: f"{some(URLSAFE, 20)}/{some(URLSAFE, 20)}",
    "ULID": lambda: "01" + some("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
    "trace": lambda: f"00-{some(LOWER_HEX, 32)}-{some(LOWER_HEX, 16)}-01",
    "snowflake": lambda: some(string.digits, 19),
    "base64 text": lambda: base64.b64encode(RANDOM.randbytes(300)).decode(),
    "age recipient": lambda: "age1" + some(BECH32, 58),
    "URL without password": lambda: "jdbc:postgresql://db.test/app?ssl=true",
    "key id from a manual": lambda: f"AKIA{some('ABCDEFGH234567', 9)}EXAMPLE",
    "token from a manual": lambda: "ghp_" + "x" * 36,
    "token from a readme": lambda: "npm_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "key from a readme": lambda: f"sk-proj-example-{some(ALNUM, 40)}",
    "bot from a manual": lambda: f"123456789:AA{some(URLSAFE, 33)}",
}


@pytest.mark.parametrize("kind", BENIGN)
def test_ordinary_strings_are_of_no_format(kind: str) -> None:
    for _ in range(200):
        value = BENIGN[kind]()
        assert recognise(Secret("T", value.encode())) is None, value


def test_an_example_host_makes_no_example_of_a_url() -> None:
    url = f"postgres://app:{some(ALNUM, 20)}@db.example.test/app"
    assert home_of(Secret("T", url.encode())) == ("db.example.test:5432",)
    key = f"AccountName=example;AccountKey={some(BASE64, 86)}=="
    found = recognise(Secret("T", key.encode()))
    assert found is not None and found.kind == "Azure storage key"


def test_invalid_utf8_is_no_shape() -> None:
    assert recognise(Secret("T", b"\xff\xfe\x80" * 8)) is None


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
