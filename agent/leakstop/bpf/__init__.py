# SPDX-License-Identifier: MIT
"""The data plane: C for the kernel, and the binding that loads it."""
