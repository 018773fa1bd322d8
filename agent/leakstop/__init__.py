# SPDX-License-Identifier: MIT
"""Leakstop: a runtime egress monitor for CI that knows what may not leave."""

__version__ = "0.1.0"
