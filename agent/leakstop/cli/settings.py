# SPDX-License-Identifier: MIT
"""The inputs of the action: variables in, a ``Wish`` out."""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar
from urllib.parse import urlsplit

from leakstop.cli.options import Text, Wish
from leakstop.errors import UsageError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Leak, Mode
from leakstop.secrets.inventory import Secret, parse_input

INPUTS = ("policy", "mode", "allow", "secrets", "fail-on", "leak", "summary", "canaries", "token")
"""Names of the inputs, as in ``action.yml``."""

DETAILS = ("auto", "full", "off")
"""Values of ``summary``."""

TOKEN_NAME = "GITHUB_TOKEN"
"""What the job's own token is called among the secrets."""

_PREFIX = "INPUT_"
_GITHUB = "github.com"
_RUNTIME_TOKENS = ("ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_SERVICES = (
    "ACTIONS_RUNTIME_URL",
    "ACTIONS_RESULTS_URL",
    "ACTIONS_CACHE_URL",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
)
_SERVERS = ("GITHUB_SERVER_URL", "GITHUB_API_URL", "GITHUB_GRAPHQL_URL")

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the step asks for."""

    wish: Wish
    """Policy text as it was handed in; a policy file still has to be read."""
    detail: str
    """How long the job summary is: one of ``DETAILS``."""
    canaries: bool = False
    """Plant credentials that open nothing."""


def read_inputs(environ: Mapping[str, str]) -> dict[str, str]:
    """Read the action's inputs; one that is not set is empty.

    The runner makes ``INPUT_FAIL-ON`` of ``fail-on``: letters become capitals, blanks become
    ``_``, and nothing else changes.

    Raises:
        UsageError: an input that this action does not have.
    """
    names = {_PREFIX + name.upper(): name for name in INPUTS}
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in names:
            raise _unknown(variable.removeprefix(_PREFIX).lower())
    return {name: environ.get(variable, "") for variable, name in names.items()}


def read_settings(inputs: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Check the inputs and make settings of them.

    Raises:
        UsageError: a value that is not known, or a secret that cannot be watched.
    """
    policy, allow = inputs["policy"], inputs["allow"]
    wish = Wish(
        policies=(_policy(policy),) if policy.strip() else (),
        allow=(Text("input `allow`", allow),) if allow.strip() else (),
        mode=_choice(Mode, "mode", inputs),
        leak=_choice(Leak, "leak", inputs),
        fail_on=_choice(Severity, "fail-on", inputs, but=Severity.INFO),
        secrets=_secrets(inputs, environ),
    )
    detail = inputs["summary"].strip() or DETAILS[0]
    if detail not in DETAILS:
        raise _not_known("summary", detail, DETAILS)
    canaries = inputs["canaries"].strip() or "false"
    if canaries not in ("true", "false"):
        raise _not_known("canaries", canaries, ("true", "false"))
    return Settings(wish, detail, canaries == "true")


def fingerprint(inputs: Mapping[str, str], key: str) -> str:
    """Tell whether two phases were given the same inputs, without telling what they were."""
    return hmac.new(key.encode(), json.dumps(inputs).encode(), hashlib.sha256).hexdigest()


def _policy(text: str) -> Text:
    """A text of one line is the path of a file; any other is the policy."""
    path = text.strip()
    if "\n" in path:
        return Text("input `policy`", text)
    if path.startswith("{") or ": " in path:
        raise UsageError(
            "the input `policy` looks like a policy, but has only one line",
            why="a single line is the path of a file in this repository",
            fix="write it as a block, `policy: |`, with `version: 1` on a line of its own",
            where="input `policy`",
        )
    return Text(path)


def _secrets(inputs: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """What the job declares, its own token, and the runner's."""
    declared = parse_input(inputs["secrets"])
    known: dict[object, None] = {}
    secrets = []
    token = _token(TOKEN_NAME, inputs["token"].strip(), _own_server(environ))
    runtime = (_token(name, environ.get(name, ""), _service(environ)) for name in _RUNTIME_TOKENS)
    for secret in (*declared, token, *runtime):
        if secret is not None and known.keys().isdisjoint((secret.name, secret.value)):
            known.update(dict.fromkeys((secret.name, secret.value)))
            secrets.append(secret)
    return (*secrets[len(declared) :], *declared)


def _token(name: str, value: str, home: tuple[str, ...]) -> Secret | None:
    """A token of the runner's; ``None`` where there is none worth watching (a local runner's)."""
    try:
        found = parse_input(f"{name}={json.dumps(value)}")
    except UsageError:
        return None
    return Secret(name, found[0].value, home) if found else None


def _own_server(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where the token of another GitHub server belongs; empty for github.com.

    The token's format says `github`, which is github.com: elsewhere the runner's own
    variables know better.
    """
    hosts = _hosts(environ, _SERVERS)
    return () if not hosts or hosts[0] == f"{_GITHUB}:443" else hosts


def _service(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where the runner's own tokens belong: the service, at the hosts that it gave this job."""
    return _hosts(environ, _SERVICES)


def _hosts(environ: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    urls = [urlsplit(environ.get(name, "")) for name in names]
    return tuple(dict.fromkeys(f"{url.hostname}:{url.port or 443}" for url in urls if url.hostname))


def _choice(
    kind: type[E], name: str, inputs: Mapping[str, str], *, but: E | None = None
) -> E | None:
    value = inputs[name].strip()
    members = {str(member.value): member for member in kind if member is not but}
    if value and value not in members:
        raise _not_known(name, value, members)
    return members[value] if value else None


def _not_known(name: str, value: str, values: Iterable[str]) -> UsageError:
    known = list(values)
    return UsageError(
        f"`{name}: {value}` is not known",
        fix=_meant(value, known) or f"one of {', '.join(known)}",
        where=f"input `{name}`",
    )


def _unknown(name: str) -> UsageError:
    return UsageError(
        f"this action has no input `{name}`",
        fix=_meant(name, INPUTS) or f"the inputs are {', '.join(INPUTS)}",
    )


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), list(known), 1)
    return f"did you mean `{close[0]}`?" if close else ""


__all__ = ["INPUTS", "Settings", "fingerprint", "read_inputs", "read_settings"]
