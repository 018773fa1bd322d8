# SPDX-License-Identifier: MIT
"""Policy: text → checked → merged → compiled; ``match.decide`` is what a policy means."""
