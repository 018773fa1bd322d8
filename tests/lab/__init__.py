# SPDX-License-Identifier: MIT
"""A small network of our own, with no way out, in which attacks are re-enacted harmlessly."""

from lab.network import Lab

__all__ = ["Lab"]
