# SPDX-License-Identifier: MIT
"""The disk of a machine like a hosted runner: Debian with systemd, its resolver, sudo and Docker.

Made of Debian's packages in about a minute, kept in ``build/vm``, and made anew when this file
or the kernel changes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from vm.kernels import CACHE, Kernel
from vm.packages import run, source

SUITE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "systemd-resolved", "dbus", "kmod", "apparmor", "sudo"),
    *("docker.io", "iptables", "iproute2", "procps", "curl", "git", "nodejs"),
    *("python3", "python3-yaml", "python3-psutil", "libbpf1", "bpftool"),
    # What the lab's servers need.
    *("python3-dnslib", "python3-h2", "python3-trustme"),
)
SIZE = "1500M"
UNUSED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-pstore.service"),
    *("getty.target", "getty@tty1.service", "serial-getty@ttyS0.service", "console-getty.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *("systemd-journal-flush.service", "systemd-random-seed.service", "modprobe@.service"),
    *("systemd-tmpfiles-clean.timer", "remote-fs.target", "dev-hugepages.mount"),
)
"""Units that nobody here waits for."""
RESOLVER = "203.0.113.53"
"""Of the machine's internet (tests/lab/network.py), as a hosted runner's is its cloud's."""

# A hosted runner's user: actions/runner-images, images/ubuntu/scripts/build/configure-runner.sh.
SET_UP = """
useradd --create-home --uid 1001 --shell /bin/bash --groups docker,sudo runner
echo 'runner ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/runner
chmod 0440 /etc/sudoers.d/runner
systemd-machine-id-setup 2> /dev/null
systemctl --quiet mask {unused}
systemctl --quiet enable scenario.service
depmod {release}
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
"""
FILES = {
    "/etc/hostname": "runner\n",
    "/etc/hosts": "127.0.0.1 localhost runner\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    "/etc/systemd/resolved.conf.d/internet.conf": (
        f"[Resolve]\nDNS={RESOLVER}\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\n"
    ),
    "/etc/modules-load.d/network.conf": "virtio_net\n",
    "/etc/systemd/journald.conf.d/volatile.conf": "[Journal]\nStorage=volatile\n",
    "/etc/systemd/system/scenario.service": """\
[Unit]
Description=What is tested here
Requires=docker.service systemd-resolved.service
After=docker.service systemd-resolved.service
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate
[Service]
Type=oneshot
Environment=PATH=/leakstop/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=PYTHONPATH=/leakstop/agent:/leakstop/tests HOME=/root
ExecStart=/usr/bin/python3 -B -m vm.runner
ExecStopPost=/bin/sh -c 'echo "exit $$EXIT_STATUS"'
StandardOutput=file:/dev/console
StandardError=file:/dev/console
[Install]
WantedBy=multi-user.target
""",
}


def image(kernel: Kernel) -> Path:
    """The disk, made now if it is not here."""
    recipe = hashlib.sha256(Path(__file__).read_bytes() + kernel.directory.name.encode())
    made = CACHE / f"runner-{recipe.hexdigest()[:16]}.ext4"
    if not made.exists():
        for old in CACHE.glob("runner-*.ext4"):
            old.unlink()
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            root, disk = Path(scratch, "root"), Path(scratch, "disk")
            _install(root)
            _configure(root, kernel)
            write_disk(root, disk, SIZE)
            disk.rename(made)
    return made


def write_disk(root: Path, disk: Path, size: str) -> None:
    """Write the tree ``root`` to a file system of ``size``, which takes no mount."""
    run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(root), str(disk), size)


def _install(root: Path) -> None:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command += ["--aptopt=Apt::Install-Recommends false"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{kind}/*" for kind in ("doc", "locale", "man")]
    subprocess.run([*command, SUITE, str(root), "-"], input=source(SUITE), text=True, check=True)


def _configure(root: Path, kernel: Kernel) -> None:
    for place, text in FILES.items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (root / "leakstop").mkdir()
    shutil.copytree(kernel.modules, root / "lib/modules" / kernel.modules.name)
    script = SET_UP.format(unused=" ".join(UNUSED), release=kernel.modules.name)
    run("chroot", str(root), "/bin/sh", "-e", "-c", script)


__all__ = ["image", "write_disk"]
