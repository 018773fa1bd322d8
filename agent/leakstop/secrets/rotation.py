# SPDX-License-Identifier: MIT
"""What to look through when a secret is revoked, and what would replace it: data only.

By provider, as ``catalogue`` names them; by kind where a provider has several that differ.
What lives for minutes needs no rotation, so that is what replaces a secret of months.
"""

from __future__ import annotations

from dataclasses import dataclass

from leakstop.secrets.shape import Format


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What comes after revoking."""

    check: str
    """What to look through, as the beginning of "… since 02:00:00 UTC"."""
    instead: str = ""
    """What replaces it, as the end of a sentence; empty if nothing general is known."""


_OIDC = "OIDC federation: `id-token: write` and a role that trusts this workflow"
_PUBLISHING = "Trusted Publishing: `id-token: write`, no token"
_CLOUD = Aftermath("audit log", _OIDC)

UNKNOWN = Aftermath("access log")
"""Of what nobody knows."""

_BY_KIND = {
    "GitHub app installation token": Aftermath("security log"),
    "private key": Aftermath("log of every server that trusts it"),
    "age key": Aftermath("access log of the files that it opens"),
    "database URL": Aftermath("query and sign-in log"),
    "Docker Hub token": Aftermath("tags and push dates of every image"),
}

_BY_PROVIDER = {
    "GitHub": Aftermath(
        "security log", "the job's own token, or a GitHub App token that is made in the job"
    ),
    "npm": Aftermath("publish history", _PUBLISHING),
    "Python package index": Aftermath("publish and security history", _PUBLISHING),
    "RubyGems": Aftermath("publish history", _PUBLISHING),
    "Rust crate registry": Aftermath("publish history", _PUBLISHING),
    "NuGet": Aftermath("publish history", _PUBLISHING),
    "GitLab": Aftermath("audit events"),
    "AWS": _CLOUD,
    "Google Cloud": _CLOUD,
    "Azure": _CLOUD,
    "HashiCorp Vault": Aftermath("audit log", "Vault's JWT sign-in with the job's OIDC token"),
    "HashiCorp Terraform": Aftermath("audit trail and runs"),
    "Pulumi": Aftermath("audit log", "Pulumi's OIDC sign-in with the job's own token"),
    "Slack": Aftermath("access log and messages"),
    "Telegram": Aftermath("messages of the bot"),
    "Discord": Aftermath("audit log and messages"),
    "Stripe": Aftermath("request log"),
}


def aftermath(form: Format | None) -> Aftermath:
    """What comes after revoking a secret of this format."""
    if form is None:
        return UNKNOWN
    return _BY_KIND.get(form.kind) or _BY_PROVIDER.get(form.provider, UNKNOWN)


__all__ = ["UNKNOWN", "Aftermath", "aftermath"]
