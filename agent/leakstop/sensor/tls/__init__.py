# SPDX-License-Identifier: MIT
"""Finds the functions that are given the plaintext of TLS, and attaches to them."""
