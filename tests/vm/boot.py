# SPDX-License-Identifier: MIT
"""Boots a Debian kernel in a virtual machine whose only program is ``scenario.py``.

The kernel comes from the machine's own package sources. The root file system is an archive
in memory: busybox, Debian's Python, libbpf and the agent. Software emulation (TCG) needs no
rights and no KVM, and boots in some seconds.
"""

from __future__ import annotations

import argparse
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "vm"
META_PACKAGE = "linux-image-cloud-amd64"
SUITES = ("bookworm", "bookworm-backports")
"""Debian 12 has Linux 6.1, the oldest that is supported; its backports have 6.12."""
PYTHON = Path("/usr/bin/python3")
LIBRARIES = ("libbpf.so.1", "libgcc_s.so.1")
"""The second one is asked for when a thread ends."""
# Nothing of these is imported, and they are most of the standard library's size.
LEFT_OUT = ("test", "idlelib", "tkinter", "lib2to3", "ensurepip", "distutils", "__pycache__")
MODULES = ("sch_ingress", "cls_bpf", "veth", "inet_diag", "tcp_diag")
"""Debian has these as modules, and ``init`` has nobody who loads them: the clsact qdisc and BPF
filters, and what destroys sockets."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIMEOUT_S = 300

INIT = """#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t cgroup2 none /sys/fs/cgroup
busybox mount -t tmpfs tmp /tmp
echo "kernel $(busybox uname -r)"
for module in /modules/"$(busybox uname -r)"/*.ko; do busybox insmod "$module"; done
cd /leakstop && PYTHONPATH=/leakstop/agent /usr/bin/python3 -B tests/vm/scenario.py
echo "exit $?"
busybox poweroff -f
"""


def fetch_kernel(suite: str) -> Path:
    """Download the newest cloud kernel of ``suite`` and take out its image and some modules.

    Both are kept in ``build/vm``.

    The mirror is the one that this machine is configured for.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        options = _apt_options(suite, Path(scratch))
        _run("apt-get", *options, "-q", "update")
        depends = _output("apt-cache", *options, "depends", META_PACKAGE)
        package = re.findall(r"Depends: (linux-image-\S+)", depends)[0]
        image = CACHE / package
        modules = CACHE / "modules" / package.removeprefix("linux-image-")
        here = [(modules / f"{name}.ko").exists() for name in MODULES]
        if not (image.exists() and all(here)):
            _run("apt-get", *options, "-q", "download", package, cwd=scratch)
            archive = next(Path(scratch).glob("*.deb"))
            _run("dpkg-deb", "-x", str(archive), scratch)
            shutil.copy(next(Path(scratch, "boot").glob("vmlinuz-*")), image)
            modules.mkdir(parents=True, exist_ok=True)
            for name in MODULES:
                packed = next(Path(scratch).rglob(f"{name}.ko*"))
                plain = lzma.decompress if packed.suffix == ".xz" else bytes
                (modules / f"{name}.ko").write_bytes(plain(packed.read_bytes()))
    return image


def _apt_options(suite: str, scratch: Path) -> list[str]:
    """Options that make apt look at ``suite`` alone, and leave the machine's own lists alone."""
    (scratch / "lists/partial").mkdir(parents=True)
    asked = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian")
    mirror = next(uri for uri in asked.split() if "security" not in uri)
    (scratch / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
    return [
        *("-o", f"Dir::Etc::SourceList={scratch}/sources.list", "-o", "Dir::Etc::SourceParts=-"),
        *("-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}"),
        *("-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"),
    ]


def build_root(target: Path) -> None:
    """Pack the root file system into ``target``."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for directory in ("proc", "sys", "dev", "tmp", "run", "sbin", "leakstop/tests"):
            (root / directory).mkdir(parents=True)
        _copy_with_libraries(root, Path("/bin/busybox"))
        _copy_with_libraries(root, PYTHON)
        for applet in ("sh", "ip"):
            (root / "bin" / applet).symlink_to("busybox")
        (root / "lib64").mkdir(exist_ok=True)
        _copy_standard_library(root)
        for library in LIBRARIES:
            path = next(Path("/usr/lib").glob(f"*-linux-gnu/{library}"))
            _copy_with_libraries(root, path)
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "agent", root / "leakstop/agent", ignore=skip)
        shutil.copytree(CACHE / "modules", root / "modules")
        shutil.copytree(ROOT / "tests/vm", root / "leakstop/tests/vm", ignore=skip)
        init = root / "init"
        init.write_text(INIT)
        init.chmod(0o755)
        names = b"\0".join(bytes(p.relative_to(root)) for p in sorted(root.rglob("*")))
        with target.open("wb") as archive:
            subprocess.run(
                ["cpio", "--quiet", "-0", "-o", "-H", "newc"],
                input=names,
                stdout=archive,
                cwd=root,
                check=True,
            )


def boot(kernel: Path, root: Path) -> str:
    """Run the machine until it powers off and return its console's text.

    Its processor has no cmpxchg16b. QEMU 7.2 emulates that instruction wrongly when an interrupt
    comes in the middle, and the slab allocator of Linux 6.12 then panics, also before any program
    of ours runs; without the feature the kernel takes another way.
    """
    done = subprocess.run(
        [
            *(
                "qemu-system-x86_64",
                "-accel",
                "tcg",
                "-cpu",
                "max,-cx16",
                "-m",
                "1024",
                "-smp",
                "1",
            ),
            *("-nographic", "-no-reboot", "-nic", "none"),
            *("-kernel", str(kernel), "-initrd", str(root)),
            *("-append", "console=ttyS0 quiet panic=-1"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=True,
    )
    return done.stdout


def main() -> int:
    """Boot the kernels and pass on what the scenario said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", default=SUITES, metavar="SUITE")
    kernels = [fetch_kernel(suite) for suite in parser.parse_args().suites]
    root = CACHE / "root.cpio"
    build_root(root)
    passed = True
    for kernel in kernels:
        console = boot(kernel, root)
        print(console[max(0, console.find("kernel ")) :].replace("\r", ""))
        passed &= bool(re.search(r"^exit 0\s*$", console, re.MULTILINE))
    return 0 if passed else 1


def _copy_with_libraries(root: Path, path: Path) -> None:
    _copy(root, path)
    listing = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False)
    for library in re.findall(r"(/\S+)", listing.stdout):
        _copy(root, Path(library))


def _copy(root: Path, path: Path) -> None:
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(path, target)  # follows links: the name is what the loader looks for


def _copy_standard_library(root: Path) -> None:
    version = _output(str(PYTHON), "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    library = Path(f"/usr/lib/python{version.strip()}")
    shutil.copytree(
        library,
        root / library.relative_to("/"),
        ignore=shutil.ignore_patterns(*LEFT_OUT, "config-*", "sitecustomize.py"),
        symlinks=False,
    )
    for extension in (library / "lib-dynload").glob("_ctypes*.so"):
        _copy_with_libraries(root, extension)


def _run(*command: str, cwd: str | None = None) -> None:
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
