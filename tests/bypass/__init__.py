# SPDX-License-Identifier: MIT
"""Ways past a guard: each is tried, each has a benign twin."""
