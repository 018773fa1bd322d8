# SPDX-License-Identifier: MIT
"""The kinds of secrets that are known: one entry for each, data only.

To add a format, add one entry here, what is rare in it to ``shapes`` and one builder to the
test's table, and run ``tools/gen_formats.py``. A format is given a home only if a stranger's
first run cannot break on it: command-line clients send a token on their command line to every
host they talk to, so the home must be all of the provider, not one host of its API. Otherwise
it stays unplaced.

Hosts of package indexes are never written down: those homes are policy words, resolved by
asking the package manager, and those revoke pages are described in words.
"""

from __future__ import annotations

import re

from leakstop.secrets.checksums import bech32, crc32_base62
from leakstop.secrets.shape import Format
from leakstop.secrets.urls import DATABASE_SCHEMES

GITHUB = ("github",)
NOWHERE = ("nowhere",)

_B64 = r"[A-Za-z0-9+/]"
_URLSAFE = r"[A-Za-z0-9_-]"
_SETTINGS = r"[\w=.:/;+-]*"
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
_CLOUDFLARE_PAGE = "https://developers.cloudflare.com/fundamentals/api/how-to/roll-token/"

FORMATS: tuple[Format, ...] = (
    # GitHub. The job's token is known by name and shape: a personal token that somebody
    # passes as GITHUB_TOKEN does not end with the job. New installation tokens (2026) hold a
    # JWT of about 520 characters with dots and hyphens, and no checksum of their own.
    Format(
        kind="GitHub job token",
        provider="GitHub",
        name=r"GITHUB_TOKEN",
        pattern=r"ghs_[\w.-]{36,}",
        checksum=crc32_base62,
        home=GITHUB,
        short_lived=True,
    ),
    Format(
        kind="GitHub app installation token",
        provider="GitHub",
        pattern=r"ghs_[\w.-]{36,}",
        checksum=crc32_base62,
        home=GITHUB,
        revoke="https://docs.github.com/en/rest/apps/installations",
    ),
    Format(
        kind="GitHub personal access token",
        provider="GitHub",
        pattern=r"ghp_[A-Za-z0-9]{36,}|github_pat_\w{60,}",
        checksum=crc32_base62,
        home=GITHUB,
        revoke=_GITHUB_PAGE,
    ),
    Format(
        kind="GitHub OAuth token",
        provider="GitHub",
        pattern=r"gh[our]_[\w.-]{36,}",
        checksum=crc32_base62,
        home=GITHUB,
        revoke=_GITHUB_PAGE,
    ),
    Format(
        kind="GitHub Actions runtime token",
        provider="GitHub",
        name=r"ACTIONS_(?:RUNTIME|ID_TOKEN_REQUEST)_TOKEN",
        home=("runner", "github"),
        short_lived=True,
    ),
    # Package registries.
    Format(
        kind="npm token",
        provider="npm",
        pattern=r"npm_[A-Za-z0-9]{36}",
        checksum=crc32_base62,
        home=("registry:npm", "publish:npm"),
        revoke="npm token list, then npm token revoke ID; or the account's Access Tokens page",
    ),
    Format(
        kind="Python package index token",
        provider="Python package index",
        # Without the encoded location that follows the prefix: a mirror's differs.
        pattern=rf"pypi-{_URLSAFE}{{50,}}",
        home=("publish:pip",),
        revoke="Python package index: account settings → API tokens → Remove",
    ),
    Format(
        kind="Docker Hub token",
        provider="Docker",
        pattern=rf"dckr_(?:pat|oat)_{_URLSAFE}{{27,}}",
        revoke="Docker Hub: account settings → Personal access tokens → Delete",
    ),
    Format(
        kind="NuGet API key",
        provider="NuGet",
        pattern=r"oy2[a-z0-9]{43}",
        revoke="NuGet gallery: account → API Keys → Delete",
    ),
    Format(
        kind="RubyGems API key",
        provider="RubyGems",
        pattern=r"rubygems_[a-f0-9]{48}",
        revoke="RubyGems: profile → API keys → Delete",
    ),
    Format(
        kind="Rust crate registry token",
        provider="Rust crate registry",
        pattern=r"cio[A-Za-z0-9]{32}",
        revoke="Rust crate registry: account settings → API tokens → Revoke",
    ),
    Format(
        kind="GitLab token",
        provider="GitLab",
        pattern=r"gl(?:pat|rt|cbt|ptt|dt|oas|ft|soat|imt|agent|ffct)-[\w.=-]{20,}",
        revoke="https://docs.gitlab.com/user/profile/personal_access_tokens/",
    ),
    # Clouds. Requests are signed with a secret key, it never travels itself; an access key id
    # and a session token do.
    Format(
        kind="AWS access key id",
        provider="AWS",
        pattern=r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z2-7]{16}",
        public=True,
        revoke=_AWS_PAGE,
    ),
    Format(
        kind="AWS secret access key",
        provider="AWS",
        name=r"(?:\w+_)?AWS_SECRET(?:_ACCESS)?_KEY(?:_\w+)?",
        home=NOWHERE,
        revoke=_AWS_PAGE,
    ),
    Format(
        kind="AWS session token",
        provider="AWS",
        name=r"(?:\w+_)?AWS_SESSION_TOKEN(?:_\w+)?",
        revoke="IAM: the role → Revoke sessions → Revoke active sessions",
    ),
    Format(
        kind="AWS Bedrock API key",
        provider="AWS",
        pattern=rf"ABSK{_B64}{{100,}}={{0,2}}",
        revoke="IAM: the user → Security credentials → API keys for Amazon Bedrock → Delete",
    ),
    Format(
        kind="Google Cloud service account key",
        provider="Google Cloud",
        pattern=r'\{.*"type"\s*:\s*"service_account".*\}',
        home=NOWHERE,
        revoke="https://cloud.google.com/iam/docs/keys-create-delete",
    ),
    Format(
        kind="Google API key",
        provider="Google Cloud",
        pattern=rf"AIza{_URLSAFE}{{35}}",
        revoke="https://console.cloud.google.com/apis/credentials",
    ),
    Format(
        kind="Google OAuth access token",
        provider="Google Cloud",
        pattern=r"ya29\.[\w.-]{20,}",
        revoke="gcloud auth revoke for a user; disable the service account for its own",
    ),
    Format(
        kind="Azure storage key",
        provider="Azure",
        pattern=rf"(?:{_SETTINGS};)?AccountKey={_B64}{{86}}==(?:;{_SETTINGS})?"
        rf"|{_B64}{{76}}\+ASt{_B64}{{6}}==",
        revoke=_AZURE_STORAGE_PAGE,
    ),
    # Without the mark of newer keys it looks like any SHA-512 in base64.
    Format(
        kind="Azure storage key",
        provider="Azure",
        name=r"\w*(?:AZURE|STORAGE|ACCOUNT_KEY)\w*",
        pattern=rf"{_B64}{{86}}==",
        revoke=_AZURE_STORAGE_PAGE,
    ),
    # az sends it to sign in, and then talks to every other host of the cloud.
    Format(
        kind="Azure client secret",
        provider="Azure",
        pattern=r"[\w~.-]{3}\dQ~[\w~.-]{31,34}",
        revoke="Microsoft Entra: app registration → Certificates & secrets → Delete",
    ),
    Format(
        kind="Azure DevOps token",
        provider="Azure",
        pattern=r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{18}AZDO[A-Za-z0-9]{4}",
        revoke="Azure DevOps: user settings → Personal access tokens → Revoke",
    ),
    Format(
        kind="Azure shared access signature",
        provider="Azure",
        pattern=r"(?:https://\S+\?|\?)?(?=\S*\bsv=\d{4}-)(?=\S*\bsig=[A-Za-z0-9%+/=]{40,})[^/?\s]+",
        own_home=True,
        revoke=_AZURE_STORAGE_PAGE,
    ),
    # Services. A home is the whole provider (see above).
    Format(
        kind="Slack token",
        provider="Slack",
        pattern=r"xox[abeprs]-[A-Za-z0-9.-]{10,}|xapp-[A-Za-z0-9-]{10,}",
        home=("slack.com", "**.slack.com"),
        revoke="https://api.slack.com/methods/auth.revoke",
    ),
    Format(
        kind="Slack webhook",
        provider="Slack",
        pattern=r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[\w/+-]{20,}",
        home=("hooks.slack.com", "hooks.slack-gov.com"),
        revoke="Slack: the app's settings → Incoming Webhooks → Remove",
    ),
    Format(
        kind="Stripe key",
        provider="Stripe",
        pattern=r"(?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,}",
        home=("**.stripe.com",),
        revoke="https://docs.stripe.com/keys",
    ),
    # Never sent to the provider, but to the hosting platform that will check webhooks with it.
    Format(
        kind="Stripe webhook secret",
        provider="Stripe",
        pattern=r"whsec_[A-Za-z0-9+/]{32,}={0,2}",
        revoke="Stripe: the webhook endpoint's page → Roll secret",
    ),
    Format(
        kind="SendGrid API key",
        provider="SendGrid",
        pattern=rf"SG\.{_URLSAFE}{{22}}\.{_URLSAFE}{{43}}",
        home=("**.sendgrid.com", "**.sendgrid.net"),
        revoke="SendGrid: Settings → API Keys → Delete",
    ),
    Format(
        kind="Telegram bot token",
        provider="Telegram",
        pattern=rf"\d{{8,10}}:AA{_URLSAFE}{{33}}",
        home=("**.telegram.org",),
        revoke="Telegram: send /revoke to BotFather",
    ),
    Format(
        kind="Discord webhook",
        provider="Discord",
        pattern=r"https://(?:\w+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{17,20}/[\w-]{60,80}",
        home=("discord.com", "**.discord.com", "discordapp.com", "**.discordapp.com"),
        revoke="Discord: the channel's settings → Integrations; or send DELETE to the URL itself",
    ),
    Format(
        kind="Discord bot token",
        provider="Discord",
        # Its first part is a number of 17 to 20 digits in base64: else a signed session
        # cookie of a web framework looks the same.
        pattern=r"(?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){5,6}(?:[MNO](?:[AQgw]|[DTjz][AEIMQUYcgk]))?"
        rf"\.{_URLSAFE}{{6}}\.{_URLSAFE}{{27,38}}",
        home=("discord.com", "**.discord.com", "**.discord.gg", "discordapp.com"),
        revoke="Discord: developer portal → the application → Bot → Reset Token",
    ),
    Format(
        kind="Anthropic API key",
        provider="Anthropic",
        pattern=rf"sk-ant-[a-z]+\d\d-{_URLSAFE}{{20,}}",
        home=("**.anthropic.com",),
        revoke="https://console.anthropic.com/settings/keys",
    ),
    Format(
        kind="OpenAI API key",
        provider="OpenAI",
        pattern=rf"sk-(?:proj|svcacct|admin)-{_URLSAFE}{{20,}}|sk-\w{{20}}T3BlbkFJ\w{{20}}",
        home=("**.openai.com",),
        revoke="https://platform.openai.com/api-keys",
    ),
    Format(
        kind="Hugging Face token",
        provider="Hugging Face",
        pattern=r"(?:hf|api_org)_[A-Za-z0-9]{34,}",
        revoke="Hugging Face: settings → Access Tokens → Invalidate",
    ),
    Format(
        kind="Vault token",
        provider="HashiCorp Vault",
        pattern=rf"hv[sbr]\.{_URLSAFE}{{24,}}",
        revoke="https://developer.hashicorp.com/vault/docs/commands/token/revoke",
    ),
    Format(
        kind="Cloudflare API token",
        provider="Cloudflare",
        pattern=r"cf(?:k|ut|at)_[A-Za-z0-9]{40}[a-f0-9]{8}",
        revoke=_CLOUDFLARE_PAGE,
    ),
    Format(
        kind="Cloudflare API token",
        provider="Cloudflare",
        # Older ones have no prefix: 40 characters, and the global key 37 hexadecimal digits.
        name=r"(?:\w+_)?(?:CF|CLOUDFLARE)_(?:(?:GLOBAL_)?API_)?(?:KEY|TOKEN)",
        pattern=rf"{_URLSAFE}{{40}}|[a-f0-9]{{37}}",
        revoke=_CLOUDFLARE_PAGE,
    ),
    Format(
        kind="Cloudflare origin CA key",
        provider="Cloudflare",
        pattern=r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}",
        revoke="Cloudflare: profile → API Tokens → Origin CA Key → Change",
    ),
    # Also run on servers of one's own: no home.
    Format(
        kind="Terraform token",
        provider="HashiCorp Terraform",
        pattern=r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,70}",
        revoke="HCP Terraform: account settings → Tokens → Delete",
    ),
    Format(
        kind="Sentry token",
        provider="Sentry",
        pattern=rf"sntryu_[a-f0-9]{{64}}|sntrys_eyJpYXQiO[\w+/=-]{{10,}}_{_B64}{{43}}",
        revoke="https://docs.sentry.io/account/auth-tokens/",
    ),
    Format(
        kind="CircleCI token",
        provider="CircleCI",
        pattern=r"CCI(?:PAT|PRJ)_[A-Za-z0-9]{22}_[a-f0-9]{40}",
        revoke="CircleCI: user settings → Personal API Tokens → Remove",
    ),
    Format(
        kind="Pulumi token",
        provider="Pulumi",
        pattern=r"pul-[a-f0-9]{40}",
        revoke="Pulumi Cloud: Personal access tokens → Delete",
    ),
    # A site for each region, under several domains: no home.
    Format(
        kind="Datadog key",
        provider="Datadog",
        name=r"(?:\w+_)?(?:DD|DATADOG)_(?:API|APP|APPLICATION)_KEY",
        pattern=r"[a-f0-9]{32}|[a-f0-9]{40}",
        revoke="https://docs.datadoghq.com/account_management/api-app-keys/",
    ),
    Format(
        kind="1Password service account token",
        provider="1Password",
        pattern=r"ops_eyJ[\w+/-]{200,}={0,2}",
        home=("**.1password.com", "**.1password.ca", "**.1password.eu"),
        revoke="1Password: Developer → the service account → Revoke Token",
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
        kind="age key",
        pattern=r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}",
        checksum=bech32,
        home=NOWHERE,
        revoke="encrypt again for a new key; the old one opens the old files for ever",
    ),
    Format(
        kind="database URL",
        pattern=rf"(?:{'|'.join(map(re.escape, DATABASE_SCHEMES))})://[^/?#\s]*@\S+"
        r"|jdbc:[a-z0-9:+]+://\S*[?&;:](?i:password)=\S+",
        own_home=True,
        revoke="change the password of the database user",
    ),
    Format(
        kind="JSON Web Token",
        pattern=rf"ey{_URLSAFE}{{15,}}\.ey{_URLSAFE}{{15,}}\.{_URLSAFE}{{10,}}",
    ),
    # By name alone: an unknown shape, for instance of another GitHub server.
    Format(
        kind="GitHub token",
        provider="GitHub",
        name=r"GITHUB_TOKEN",
        home=GITHUB,
        revoke=_GITHUB_PAGE,
    ),
)
"""Special before general: the first that fits counts."""
