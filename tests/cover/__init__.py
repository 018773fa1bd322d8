# SPDX-License-Identifier: MIT
"""What becomes of a secret: channel by client, and encoding by channel, each cell run for real.

Not named ``coverage``: that would hide the package of this name, which pytest's plugins import.
"""
