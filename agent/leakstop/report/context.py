# SPDX-License-Identifier: MIT
"""A report with everything that the renderers derive from it, derived once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.finding import Finding
from leakstop.model.process import ProcessView
from leakstop.model.report import FlowRecord, Report, SecretView
from leakstop.report import escape
from leakstop.report.facts import Facts, facts_of
from leakstop.report.proposal import Proposal, propose
from leakstop.report.vocabulary import Vocabulary

BUILT_IN = "built in"
"""``RuleRef.source`` of what no policy wrote (``policy.presets``, which would load YAML)."""

_SHELLS = frozenset({"bash", "sh", "dash", "zsh", "env", "sudo"})
_MAX_ANCESTORS = 6
_COMMIT_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Context:
    """What the renderers of people's text work on."""

    report: Report
    facts: Facts
    vocabulary: Vocabulary
    proposal: Proposal

    @classmethod
    def of(cls, report: Report, vocabulary: Vocabulary | None = None) -> Context:
        """Derive everything from ``report``."""
        words = vocabulary or Vocabulary()
        facts = facts_of(report)
        return cls(report, facts, words, propose(report, facts, words))

    @property
    def in_workflow(self) -> bool:
        """Whether this ran in a job of a workflow, not in somebody's shell."""
        return bool(self.report.job.run_id or self.report.job.workflow)

    @property
    def policy_file(self) -> str:
        """The policy file that a line would go into, or empty."""
        files = (s for s in self.report.policy.sources if s.endswith((".yml", ".yaml")))
        return next(files, "")

    @property
    def policy_is_input(self) -> bool:
        """Whether the policy stands in the step itself."""
        return self.in_workflow and not self.policy_file

    @property
    def policy_is_text(self) -> bool:
        """Whether it stands there as a list of destinations, not as a policy of its own."""
        return self.policy_is_input and "input `policy`" not in self.report.policy.sources

    @property
    def policy_place(self) -> str:
        """Where ``allow`` and ``secrets`` stand, for the end of a sentence in Markdown."""
        if self.policy_file:
            return escape.code(self.policy_file)
        return "your Leakstop step" if self.in_workflow else "your policy"

    @property
    def has_policy(self) -> bool:
        """Whether somebody wrote a rule or a home already."""
        document = self.report.policy.canonical
        groups = document.get("rules", ())
        written = [group for group in groups if _is_written(group)] if _is_list(groups) else []
        return bool(written or self.policy_file)

    @property
    def commit(self) -> str:
        """Beginning of the commit that this ran at, or empty."""
        return self.report.job.sha[:_COMMIT_DIGITS]

    def place_of(self, step: str) -> str:
        """``file:line`` of the workflow where a step stands; empty where that is not known."""
        return next((each.place for each in self.report.steps if each.name == step), "")

    def secret(self, name: str) -> SecretView:
        """The watched secret of this name."""
        known = (secret for secret in self.report.secrets if secret.name == name)
        return next(known, SecretView(name=name, home=(), kind="", revoke=""))


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_written(group: object) -> bool:
    return isinstance(group, Mapping) and group.get("source") != BUILT_IN


def program(path: str) -> str:
    """The bare name of an executable."""
    return path.rsplit("/", 1)[-1]


def ancestors(process: ProcessView) -> tuple[str, ...]:
    """Names of the programs that led to ``process``, nearest first, up to the runner."""
    names: list[str] = []
    for path in process.ancestry[:_MAX_ANCESTORS]:
        name = program(path)
        if name.startswith("Runner."):
            break
        names.append(name)
    return tuple(names)


def starter(process: ProcessView) -> str:
    """The program that started ``process``, where that says more than the step does."""
    parent = next(iter(ancestors(process)), "")
    return "" if parent in _SHELLS else parent


def inside(process: ProcessView, quote: Callable[[str], str]) -> str:
    """`` in the container db``, to stand behind a program; empty outside of one."""
    return f" in the container {quote(process.container)}" if process.container else ""


_ENCODINGS = {
    "raw": "as plain text",
    "base64": "as base64",
    "base64url": "as URL-safe base64",
    "base64-twice": "as base64 of base64",
    "base32": "as base32",
    "hex": "in hexadecimal",
    "percent": "percent-encoded",
    "json": "escaped for JSON",
    "shell": "escaped for a shell",
    "reversed": "written backwards",
    "hpack-huffman": "in the Huffman code of HTTP/2",
}
_WORDS = re.compile(r"[a-z0-9][a-z0-9 ,>-]{0,60}")
_PLACES = {"secret-in-argv": "on the command line", "secret-in-dns": "in a DNS name"}
_CHANNELS = {
    Channel.TLS: "inside TLS",
    Channel.TCP: "in the open over TCP",
    Channel.UDP: "in the open over UDP",
}
_TIES = {
    Tie.SOCKET: "it is that connection's own socket",
    Tie.NAME: "the connection shows the name that TLS was set up for",
    Tie.FLOWS: "it is the worst of all that the program had open",
    Tie.NONE: "the program had no connection that is known",
}


def carried_how(finding: Finding) -> str:
    """``as plain text on the command line``; empty where nothing is known."""
    written = _ENCODINGS.get(finding.encoding, "")
    if not written and _WORDS.fullmatch(finding.encoding):
        # Layers, the outermost first, named by the one who took them off.
        written = f"as {' in '.join(reversed(finding.encoding.split(' > ')))}"
    parts = (written, _PLACES.get(finding.id, ""), _sent_how(finding))
    return " ".join(part for part in parts if part)


def _sent_how(finding: Finding) -> str:
    through = f", through {finding.library.value}" if finding.library is not Library.NONE else ""
    return _CHANNELS[finding.channel] + through if finding.channel is not None else ""


def tied_how(finding: Finding) -> str:
    """How a write is known to go where it goes; empty for what is no write."""
    return _TIES[finding.tie] if finding.tie is not None else ""


def why_opaque(report: Report, flow: FlowRecord) -> str:
    """Why connections of ``flow`` were not looked into."""
    if flow.uninspected:
        return flow.uninspected
    if report.coverage.sensor != "kernel":
        return "this sensor cannot look into TLS"
    return "no TLS library that is known was seen at work in it"
