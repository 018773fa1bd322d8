# SPDX-License-Identifier: MIT
"""What the guard costs. `make bench` prints it; no test is timed, and nothing here is a test."""
