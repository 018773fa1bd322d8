# SPDX-License-Identifier: MIT
"""Events in, commands out. No I/O and no clock of its own."""
