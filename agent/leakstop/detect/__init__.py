# SPDX-License-Identifier: MIT
"""Detectors, one a file, listed in ``registry``."""
