# SPDX-License-Identifier: MIT
"""The agent: a loop, a control socket, and a life cycle."""
