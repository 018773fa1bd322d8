# SPDX-License-Identifier: MIT
"""What the guard must do on a machine like a hosted runner, as a whole machine's guard."""
