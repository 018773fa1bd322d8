# SPDX-License-Identifier: MIT
"""A report, turned into text: one format a file."""
