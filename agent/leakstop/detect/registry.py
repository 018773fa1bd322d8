# SPDX-License-Identifier: MIT
"""Every detector, in the order of the documentation. A test compares it with the folder."""

from __future__ import annotations

from typing import Any

from leakstop.detect.bpf_loaded import BpfLoaded
from leakstop.detect.clock_set import ClockSet
from leakstop.detect.coverage_lost import CoverageLost
from leakstop.detect.denied_flow import DeniedFlow
from leakstop.detect.detector import Detector
from leakstop.detect.environment_hijacked import EnvironmentHijacked
from leakstop.detect.guard_attacked import GuardAttacked
from leakstop.detect.guard_deceived import GuardDeceived
from leakstop.detect.left_the_guard import LeftTheGuard
from leakstop.detect.long_lived_publish_token import LongLivedPublishToken
from leakstop.detect.network_changed import NetworkChanged
from leakstop.detect.powerful_container import PowerfulContainer
from leakstop.detect.privileges_changed import PrivilegesChanged
from leakstop.detect.refused_answer import RefusedAnswer
from leakstop.detect.resolver_changed import ResolverChanged
from leakstop.detect.runner_read import RunnerRead
from leakstop.detect.secret_in_argv import SecretInArgv
from leakstop.detect.secret_in_dns import SecretInDns
from leakstop.detect.secret_in_payload import SecretInPayload
from leakstop.detect.secret_in_tls import SecretInTls
from leakstop.detect.secret_shaped import SecretShaped
from leakstop.detect.secret_unplaced import SecretUnplaced

DETECTORS: tuple[type[Detector[Any]], ...] = (
    SecretInArgv,
    SecretInTls,
    SecretInPayload,
    SecretInDns,
    SecretUnplaced,
    SecretShaped,
    DeniedFlow,
    RefusedAnswer,
    RunnerRead,
    GuardAttacked,
    GuardDeceived,
    EnvironmentHijacked,
    LeftTheGuard,
    PrivilegesChanged,
    ResolverChanged,
    NetworkChanged,
    PowerfulContainer,
    BpfLoaded,
    ClockSet,
    CoverageLost,
    LongLivedPublishToken,
)
