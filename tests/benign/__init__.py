# SPDX-License-Identifier: MIT
"""What ordinary jobs do with secrets, and with data that looks like one: nobody is disturbed."""
