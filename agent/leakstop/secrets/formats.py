# SPDX-License-Identifier: MIT
"""What a secret is, by its shape or its name; where such a secret belongs; how to revoke it.

To add a format, add one entry to ``FORMATS`` and one builder to the test's table. A format
is given a home only if a stranger's first run cannot break on it: command-line clients send
a token on their command line to every host they talk to, so the home must be all of the
provider, not one host of its API. Otherwise the secret stays unplaced.

Hosts of package indexes are never written down: those homes are policy words, resolved by
asking the package manager, and those revoke pages are described in words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from leakstop.model.report import SecretView
from leakstop.secrets.inventory import Secret

GITHUB = ("github",)
NOWHERE = ("nowhere",)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of secret."""

    kind: str
    """In words, e.g. ``npm token``."""
    pattern: str = ""
    """What the whole value looks like; empty if only the name tells."""
    name: str = ""
    """What the secret's name looks like; empty if the value alone tells."""
    home: tuple[str, ...] = ()
    """Policy words; empty means unplaced."""
    own_home: bool = False
    """The value says where it belongs: it is a URL."""
    revoke: str = ""
    """The provider's page as an ``https://`` address, or the way to it in words."""
    short_lived: bool = False
    """Ends with the job."""

    def matches(self, secret: Secret) -> bool:
        """Whether ``secret`` is of this kind."""
        text = secret.value.decode("utf-8", "replace")
        return (not self.name or _is(self.name, secret.name)) and (
            not self.pattern or _is(self.pattern, text)
        )


def recognise(secret: Secret) -> Format | None:
    """Return the first format that fits, if any does."""
    return next((form for form in FORMATS if form.matches(secret)), None)


def home_of(secret: Secret) -> tuple[str, ...]:
    """Return the home that the format gives, as policy words; empty if it gives none."""
    form = recognise(secret)
    if form is None:
        return ()
    return _places(secret.value.decode("utf-8", "replace")) if form.own_home else form.home


def view(secret: Secret, home_text: Sequence[str], placed_by: str) -> SecretView:
    """Describe ``secret`` for reports, without its value."""
    form = recognise(secret) or Format(kind="")
    return SecretView(
        name=secret.name,
        home=tuple(home_text),
        kind=form.kind,
        revoke=form.revoke,
        placed_by=placed_by,
        short_lived=form.short_lived,
    )


def _is(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.ASCII | re.DOTALL) is not None


_URL = re.compile(r"([a-z][a-z0-9+]*)://(?:[^/?#\s]*@)?([^/?#@\s]+)(?:[/?#].*)?", re.DOTALL)
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!\d+$|0[xX]){_LABEL}")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?")
_PORTS = {
    "https": 443,
    "postgres": 5432,
    "postgresql": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "mongodb": 27017,
    "redis": 6379,
    "rediss": 6379,
    "amqp": 5672,
    "amqps": 5671,
    "mssql": 1433,
    "sqlserver": 1433,
}
_SRV = "mongodb+srv"


def _places(url: str) -> tuple[str, ...]:
    """The places that a URL names, as ``host:port``; none if one of them cannot be read."""
    match = _URL.fullmatch(url)
    if not match:
        return ()
    if match[1] == _SRV:
        # The servers are in the answer to an SRV question; the driver only accepts those
        # below the name's parent (MongoDB's initial DNS seed list discovery). A parent of two
        # labels could be everybody's, as co.uk is.
        parent = match[2].partition(".")[2]
        return (f"**.{parent}:*",) if _NAME.fullmatch(parent) and parent.count(".") >= 2 else ()
    places = []
    for part in match[2].split(","):
        split = _HOST_AND_PORT.fullmatch(part)
        port = int(split[2] or _PORTS[match[1]]) if split else 0
        if not split or not _is_host(split[1]) or not 1 <= port <= 65535:
            return ()
        places.append(f"{split[1]}:{port}")
    return tuple(places)


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return len(text) <= 253
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return text.startswith("[") == (":" in text) and "%" not in text


_B64 = r"[A-Za-z0-9+/]"
_URLSAFE = r"[A-Za-z0-9_-]"
_PEM_KEY = r"[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"

_GITHUB_PAGE = (
    "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/"
    "token-expiration-and-revocation"
)
_AWS_PAGE = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/id-credentials-access-keys-update.html"
)
_AZURE_STORAGE_PAGE = (
    "https://learn.microsoft.com/en-us/azure/storage/common/storage-account-keys-manage"
)

FORMATS: tuple[Format, ...] = (
    # GitHub. The job's token is known by name and shape: a personal token that somebody
    # passes as GITHUB_TOKEN does not end with the job. New installation tokens (2026) hold a
    # JWT of about 520 characters with dots and hyphens.
    Format(
        kind="GitHub job token",
        name=r"GITHUB_TOKEN",
        pattern=r"ghs_[\w.-]{36,}",
        home=GITHUB,
        short_lived=True,
    ),
    Format(
        kind="GitHub app installation token",
        pattern=r"ghs_[\w.-]{36,}",
        home=GITHUB,
        revoke="https://docs.github.com/en/rest/apps/installations",
    ),
    Format(
        kind="GitHub personal access token",
        pattern=r"ghp_[A-Za-z0-9]{36,}|github_pat_\w{60,}",
        home=GITHUB,
        revoke=_GITHUB_PAGE,
    ),
    Format(
        kind="GitHub OAuth token",
        pattern=r"gh[our]_[\w.-]{36,}",
        home=GITHUB,
        revoke=_GITHUB_PAGE,
    ),
    Format(
        kind="GitHub Actions runtime token",
        name=r"ACTIONS_(?:RUNTIME|ID_TOKEN_REQUEST)_TOKEN",
        home=("runner", "github"),
        short_lived=True,
    ),
    # Package registries.
    Format(
        kind="npm token",
        pattern=r"npm_[A-Za-z0-9]{36}",
        home=("registry:npm", "publish:npm"),
        revoke="npm token list, then npm token revoke ID; or the account's Access Tokens page",
    ),
    Format(
        kind="Python package index token",
        # Without the encoded location that follows the prefix: a mirror's differs.
        pattern=rf"pypi-{_URLSAFE}{{50,}}",
        home=("publish:pip",),
        revoke="Python package index: account settings → API tokens → Remove",
    ),
    Format(
        kind="Docker Hub token",
        pattern=rf"dckr_(?:pat|oat)_{_URLSAFE}{{27,}}",
        revoke="Docker Hub: account settings → Personal access tokens → Delete",
    ),
    Format(
        kind="NuGet API key",
        pattern=r"oy2[a-z0-9]{43}",
        revoke="NuGet gallery: account → API Keys → Delete",
    ),
    Format(
        kind="RubyGems API key",
        pattern=r"rubygems_[a-f0-9]{48}",
        revoke="RubyGems: profile → API keys → Delete",
    ),
    Format(
        kind="Rust crate registry token",
        pattern=r"cio[A-Za-z0-9]{32}",
        revoke="Rust crate registry: account settings → API tokens → Revoke",
    ),
    Format(
        kind="GitLab token",
        pattern=r"gl(?:pat|rt|cbt|ptt|dt|oas|ft|soat|imt|agent|ffct)-[\w.=-]{20,}",
        revoke="https://docs.gitlab.com/user/profile/personal_access_tokens/",
    ),
    # Clouds. Requests are signed with a secret key, it never travels itself; an access key id
    # and a session token do.
    Format(
        kind="AWS access key id",
        pattern=r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z2-7]{16}",
        revoke=_AWS_PAGE,
    ),
    Format(
        kind="AWS secret access key",
        name=r"(?:\w+_)?AWS_SECRET(?:_ACCESS)?_KEY(?:_\w+)?",
        home=NOWHERE,
        revoke=_AWS_PAGE,
    ),
    Format(
        kind="Google Cloud service account key",
        pattern=r'\{.*"type"\s*:\s*"service_account".*\}',
        home=NOWHERE,
        revoke="https://cloud.google.com/iam/docs/keys-create-delete",
    ),
    Format(
        kind="Google API key",
        pattern=rf"AIza{_URLSAFE}{{35}}",
        revoke="https://console.cloud.google.com/apis/credentials",
    ),
    Format(
        kind="Azure storage key",
        pattern=rf"(?:.*;)?AccountKey={_B64}{{86}}==(?:;.*)?|{_B64}{{86}}==",
        revoke=_AZURE_STORAGE_PAGE,
    ),
    Format(
        kind="Azure shared access signature",
        pattern=r"(?:https://\S+\?|\?)?(?=\S*\bsv=\d{4}-)(?=\S*\bsig=[A-Za-z0-9%+/=]{40,})[^/?\s]+",
        own_home=True,
        revoke=_AZURE_STORAGE_PAGE,
    ),
    # Services. A home is the whole provider (see above).
    Format(
        kind="Slack token",
        pattern=r"xox[abeprs]-[A-Za-z0-9.-]{10,}|xapp-[A-Za-z0-9-]{10,}",
        home=("slack.com", "**.slack.com"),
        revoke="https://api.slack.com/methods/auth.revoke",
    ),
    Format(
        kind="Slack webhook",
        pattern=r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/\S{20,}",
        own_home=True,
        revoke="Slack: the app's settings → Incoming Webhooks → Remove",
    ),
    Format(
        kind="Stripe key",
        pattern=r"(?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,}",
        home=("**.stripe.com",),
        revoke="https://docs.stripe.com/keys",
    ),
    Format(
        kind="Anthropic API key",
        pattern=rf"sk-ant-[a-z]+\d\d-{_URLSAFE}{{20,}}",
        home=("**.anthropic.com",),
        revoke="https://console.anthropic.com/settings/keys",
    ),
    Format(
        kind="OpenAI API key",
        pattern=rf"sk-(?:proj|svcacct|admin)-{_URLSAFE}{{20,}}|sk-\w{{20}}T3BlbkFJ\w{{20}}",
        home=("**.openai.com",),
        revoke="https://platform.openai.com/api-keys",
    ),
    Format(
        kind="Hugging Face token",
        pattern=r"(?:hf|api_org)_[A-Za-z0-9]{34,}",
        revoke="Hugging Face: settings → Access Tokens → Invalidate",
    ),
    Format(
        kind="Vault token",
        pattern=rf"hv[sbr]\.{_URLSAFE}{{24,}}",
        revoke="https://developer.hashicorp.com/vault/docs/commands/token/revoke",
    ),
    Format(
        kind="Cloudflare API token",
        pattern=r"cf(?:k|ut|at)_[A-Za-z0-9]{40}[a-f0-9]{8}",
        revoke="https://developers.cloudflare.com/fundamentals/api/how-to/roll-token/",
    ),
    # Shapes of no single provider.
    Format(
        kind="private key",
        pattern=rf"-----BEGIN {_PEM_KEY}.*-----END {_PEM_KEY}",
        home=NOWHERE,
        revoke="remove the public key wherever it is trusted: deploy keys, SSH keys of the "
        "account, authorized_keys, certificates",
    ),
    Format(
        kind="database URL",
        pattern=rf"(?:mongodb\+srv|{'|'.join(scheme for scheme in _PORTS if scheme != 'https')})"
        r"://[^/?#\s]*@\S+",
        own_home=True,
        revoke="change the password of the database user",
    ),
    Format(
        kind="JSON Web Token",
        pattern=rf"ey{_URLSAFE}{{15,}}\.ey{_URLSAFE}{{15,}}\.{_URLSAFE}{{10,}}",
    ),
    # By name alone: an unknown shape, for instance of another GitHub server.
    Format(kind="GitHub token", name=r"GITHUB_TOKEN", home=GITHUB, revoke=_GITHUB_PAGE),
)
"""Special before general: the first that fits counts."""
