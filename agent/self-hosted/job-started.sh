#!/bin/sh
# SPDX-License-Identifier: MIT
# The runner's ACTIONS_RUNNER_HOOK_JOB_STARTED: docs/self-hosted.md.
exec /usr/bin/sudo -n -- "$(dirname "$0")/guard" started
