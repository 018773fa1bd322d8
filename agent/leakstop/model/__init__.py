# SPDX-License-Identifier: MIT
"""Frozen values that every layer shares. Knows no policy, file or socket."""
