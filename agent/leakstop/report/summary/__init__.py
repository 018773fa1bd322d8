# SPDX-License-Identifier: MIT
"""The job summary: Markdown that a person reads in a browser.

A state word and the numbers, one thing to do, the evidence, and the rest folded. One
section a file; ``page`` puts them in order.
"""

from leakstop.report.summary.page import Detail, render

__all__ = ["Detail", "render"]
