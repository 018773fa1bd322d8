# SPDX-License-Identifier: MIT
"""Who asks for the guard's end in the hook's place."""

from __future__ import annotations

from leakstop.errors import ExitCode
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick
from leakstop.model.verdict import Mode
from story import Ends, Finds, FindsOnly, execs, guarded

ASKED = Tamper(5_000_000_000, 20, Trick.FINISH, "finish", denied=True)


def test_each_program_that_asks_is_named_once() -> None:
    told = guarded(mode=Mode.BLOCK).sees(execs(20, "leakstop"), ASKED, ASKED)
    told.expects(
        FindsOnly("guard-deceived"),
        Finds("guard-deceived", count=2, severity=Severity.HIGH, failing=True),
        Ends(ExitCode.FINDINGS),
    )
    (finding,) = told.report.findings
    assert "for the guard's end" in finding.action_taken
    assert finding.process.command == "leakstop"


def test_other_tricks_are_others_business() -> None:
    tamper = Tamper(5_000_000_000, 20, Trick.CLOCK, "settimeofday")
    assert "guard-deceived" not in {f.id for f in guarded().sees(tamper).report.findings}
