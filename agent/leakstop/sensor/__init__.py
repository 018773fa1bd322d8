# SPDX-License-Identifier: MIT
"""The world, turned into events and facts."""
