# SPDX-License-Identifier: MIT
"""Commands, carried out on the world."""
