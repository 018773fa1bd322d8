# SPDX-License-Identifier: MIT
"""Virtual machines in which the guard has to work. `make vmtest` boots them."""
