# SPDX-License-Identifier: MIT
"""A job has an upload token of a package index that would let it publish without one.

Why: a token that lives for months publishes for whoever has copied it, long after the job. With
Trusted Publishing the index believes the workflow itself, for minutes.
Sees: tokens of such indexes that were declared, or found in the job, in a workflow that can prove
who it is (OIDC).
Quiet when: the run comes from a fork, which has no such proof, or there is no workflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

from leakstop.detect.detector import Context, Detector, DetectorMeta, Once, Sighting
from leakstop.model.event import SecretFound, Started
from leakstop.model.finding import Finding, Severity
from leakstop.model.report import SecretView

META = DetectorMeta(
    id="long-lived-publish-token",
    title="An upload token that Trusted Publishing would replace",
    severity=Severity.INFO,
    needs=(Started, SecretFound),
    incident="Ultralytics, December 2024: the second round used an upload token left in a workflow",
    since="0.1.0",
)

REPLACEMENTS = {
    "npm token": "`npm publish` of npm 11.5.1 or later, without `NODE_AUTH_TOKEN`",
    "Python package index token": (
        "`uses: pypa/gh-action-pypi-publish@release/v1`, without `password`"
    ),
    "RubyGems API key": "`uses: rubygems/release-gem@v1`",
    "Rust crate registry token": (
        "`uses: rust-lang/crates-io-auth-action@v1` with `id: auth`, then `cargo publish` with "
        "`CARGO_REGISTRY_TOKEN: ${{ steps.auth.outputs.token }}`"
    ),
    "NuGet API key": (
        "`uses: NuGet/login@v1` with `id: login`, then "
        "`dotnet nuget push --api-key ${{ steps.login.outputs.NUGET_API_KEY }}`"
    ),
}
"""By kind of token: the lines of a workflow that publish without it."""


class LongLivedPublishToken(Detector[Union[SecretFound, Started]]):
    """Advises once for each token."""

    meta = META

    def __init__(self) -> None:
        self._once = Once()

    def on_event(self, event: SecretFound | Started, context: Context) -> Iterator[Sighting]:
        """Look at the tokens that are known by now."""
        if not context.job.run_id or context.job.fork:
            return
        names = event.secrets if isinstance(event, Started) else (event.name,)
        for secret in map(context.secrets.get, names):
            if secret is None or secret.canary or secret.kind not in REPLACEMENTS:
                continue
            if self._once.first(secret.name):
                yield Sighting((secret.name,), _finding(secret, event, context))


def _finding(secret: SecretView, event: SecretFound | Started, context: Context) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity,
        title=META.title,
        process=context.process,
        destination="",
        secret=secret.name,
        encoding="",
        step="",
        action_taken=f"{secret.name} ({secret.kind}) stays valid after this job.",
        what_to_do=(
            "If it is for publishing: name this workflow as a trusted publisher at the index, add "
            "`permissions: {id-token: write}` to the job, and publish with "
            f"{REPLACEMENTS[secret.kind]}. Then delete the token."
        ),
        ts_ns=event.ts_ns,
        failing=False,
    )
