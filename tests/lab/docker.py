# SPDX-License-Identifier: MIT
"""A Docker daemon in the lab: real containers, without a registry, and nothing of the machine's.

The daemon runs in the job's network namespace, so its bridges and its packet filter are there and
nowhere else, and in mount and process namespaces of its own. Their first process holds the end of
a pipe: when that closes, even because this process was killed, it ends, and the kernel takes the
daemon, its containers and their mounts down with it. Only cgroups outlive their processes; those
have a parent that is removed last.

The image is an empty tree. Containers get the machine's programs as read-only volumes: nothing
is copied, and whatever interpreter runs the tests is there, too.
"""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lab import cgroup
from lab.guard import AGENT
from lab.network import Lab

_CLIENT = "/usr/bin/docker"
"""The daemon's own: Debian's has BuildKit's client inside."""
_IMAGE = "empty"
_DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp")
_MERGED = ("bin", "lib", "lib64", "sbin")
_STARTS_WITHIN_S = 20
_numbers = itertools.count(1)


class Docker:
    """A daemon of our own; a context manager."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._directory = lab.directory / "docker"
        self._cgroup = f"leakstop-test-{os.getpid()}-docker-{next(_numbers)}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Docker:
        try:
            self._start()
            self._import_image()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the daemon and all containers, and remove their cgroups."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(10)
            self._process = None
        for hierarchy in cgroup.mount_points():
            if (hierarchy / self._cgroup).is_dir():
                cgroup.remove(hierarchy / self._cgroup)

    @property
    def cgroup(self) -> Path:
        """The cgroup v2 directory above the daemon's own and all containers'."""
        return cgroup.mount_point() / self._cgroup

    @property
    def image(self) -> Path:
        """The archive that the image was made of."""
        return self._directory / "image.tar"

    def do(self, *arguments: str | Path) -> str:
        """Call ``docker`` and return what it printed.

        Raises:
            RuntimeError: it failed.
        """
        done = self._call(*arguments)
        if done.returncode:
            raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """The command line that calls ``docker`` with ``arguments``."""
        return [_CLIENT, "--host", f"unix://{self.socket}", *arguments]

    def run(
        self, command: Sequence[str | Path], *, options: Sequence[str | Path] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in a container without privileges, to its end."""
        return self._call("run", "--rm", *self.volumes(), *options, _IMAGE, *command)

    def start(self, command: Sequence[str | Path], *, options: Sequence[str | Path] = ()) -> str:
        """Start ``command`` in a container and return the container's address."""
        made = self.do("run", "--detach", *self.volumes(), *options, _IMAGE, *command)
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.do("inspect", "--format", address, made)

    def execute(
        self, container: str, command: Sequence[str | Path], *, options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` beside what runs in ``container`` already, to its end."""
        return self._call("exec", *options, container, *command)

    def remove_all(self) -> None:
        """End and remove every container."""
        if made := self.do("ps", "--all", "--quiet").split():
            self.do("rm", "--force", *made)

    def _start(self) -> None:
        self._directory.mkdir()
        settings = self._directory / "daemon.json"
        settings.write_text("{}")
        daemon = ["dockerd", "--config-file", settings, "--host", f"unix://{self.socket}"]
        daemon += ["--data-root", self._directory / "data", "--storage-driver", "vfs"]
        daemon += ["--exec-root", self._directory / "exec", "--pidfile", self._directory / "pid"]
        # systemd would make the cgroups elsewhere, and keep them.
        daemon += ["--exec-opt", "native.cgroupdriver=cgroupfs"]
        daemon += ["--cgroup-parent", f"/{self._cgroup}"]
        holder = ["unshare", "--pid", "--fork", "--mount-proc", "--"]
        holder += ["sh", "-c", '"$@" & read -r _', "sh", *map(str, daemon)]
        # Beside its containers, as on a machine that is guarded as a whole.
        own = self.cgroup / "daemon"
        own.mkdir(parents=True)
        with (self._directory / "log").open("w") as log:
            self._process = self.lab.popen(
                cgroup.command_in(own, holder),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while self._call("version").returncode:
            if time.monotonic() > deadline:
                said = (self._directory / "log").read_text()[-2000:]
                raise RuntimeError(f"dockerd did not start; it said:\n{said}")
            time.sleep(0.02)

    def _import_image(self) -> None:
        tree = io.BytesIO()
        with tarfile.open(fileobj=tree, mode="w") as archive:
            for directory in _DIRECTORIES:
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in directory else 0o755
                archive.addfile(entry)
            for name in _MERGED:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                archive.addfile(entry)
        self.image.write_bytes(tree.getvalue())
        self.do("import", self.image, _IMAGE)

    @staticmethod
    def volumes() -> list[str]:
        """The machine's programs, this interpreter, and the agent."""
        needed = {"/usr", sys.prefix, sys.base_prefix, str(AGENT.parent)}
        volumes = [f"--volume={path}:{path}:ro" for path in sorted(needed)]
        return [*volumes, f"--env=PYTHONPATH={AGENT}", "--env=PATH=/usr/bin:/usr/sbin"]

    @property
    def socket(self) -> str:
        """Where the daemon listens."""
        return f"{self._directory}/sock"

    def _call(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.lab.run(self.command(*arguments), timeout_s=30)
