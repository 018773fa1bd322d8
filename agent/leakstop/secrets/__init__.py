# SPDX-License-Identifier: MIT
"""Secrets: which are known, how each may be written, and where each may go."""
