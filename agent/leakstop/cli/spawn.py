# SPDX-License-Identifier: MIT
"""Start the guarded command, pass signals on to it, and wait for its end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from leakstop.cli.confined import Identity
from leakstop.errors import LeakstopError

NOT_FOUND = 127
"""What shells return for a command that is not there."""
NOT_EXECUTABLE = 126
"""What shells return for a command that cannot be run."""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
_WAITED = frozenset({signal.SIGCHLD, *_PASSED_ON})


class Command:
    """One child process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        identity: Identity,
        environment: Mapping[str, str],
        enter: Callable[[], None],
    ) -> Command:
        """Fork; the child calls ``enter``, becomes ``identity``, and then the program.

        From here on the signals that are passed on are blocked in this process: ``wait``
        takes them one by one.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become(argv, identity, environment, enter)
        return cls(pid)

    def wait(self, notice: Callable[[], None]) -> int:
        """Wait for the command's end and return its exit code as shells count it.

        ``notice`` is called whenever any child of ours ended.
        """
        while True:
            info = signal.sigwaitinfo(_WAITED)
            if info.si_signo == signal.SIGCHLD:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    return exit_code(status)
                notice()
            elif info.si_pid:
                # Sent by a process. What the terminal sends (no pid: the kernel is the sender)
                # goes to the whole foreground group, so the command has it already.
                os.kill(self.pid, info.si_signo)


def exit_code(status: int) -> int:
    """Translate a wait status: a command that a signal ended returns 128 and its number."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(
    argv: Sequence[str],
    identity: Identity,
    environment: Mapping[str, str],
    enter: Callable[[], None],
) -> None:
    """Turn this forked child into the command. Never returns."""
    code = NOT_EXECUTABLE
    try:
        enter()
        identity.become()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED)
        # Python ignores it; programs rely on it.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(argv[0], list(argv), dict(environment))
    except LeakstopError as error:
        code = int(error.exit_code)
        print(f"leakstop: {error}", file=sys.stderr, flush=True)
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        print(f"leakstop: {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


__all__ = ["Command", "exit_code"]
