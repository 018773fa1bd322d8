#!/bin/sh
# Installs the Debian packages that building and testing need, those only that are missing.
set -eu

missing=""
need() { # need PACKAGE TEST...
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

need clang command -v clang
need llvm command -v llvm-strip
need clang-format command -v clang-format
need libbpf-dev test -e /usr/include/bpf/bpf_helpers.h
need libbpf1 sh -c 'ls /usr/lib/*/libbpf.so.1'
need bpftool command -v bpftool
need iproute2 command -v ip
need iptables command -v iptables
need nftables command -v nft
need curl command -v curl
need bind9-dnsutils command -v dig
need git command -v git
need nodejs command -v node
need npm command -v npm
need python3 test -x /usr/bin/python3
need python3-yaml /usr/bin/python3 -c 'import yaml'
need python3-venv python3 -c 'import ensurepip'
need qemu-system-x86 command -v qemu-system-x86_64
need busybox-static sh -c 'command -v busybox && ! ldd "$(command -v busybox)"'
need cpio command -v cpio
need mmdebstrap command -v mmdebstrap
need e2fsprogs command -v mke2fs
need docker.io command -v dockerd
need docker-compose command -v docker-compose
need podman command -v podman
need libnss3 sh -c 'ls /usr/lib/*/libssl3.so'
need gcc command -v gcc
need libc6-dev test -e /usr/include/stdio.h
need musl-tools command -v musl-gcc
need golang-go command -v go
need gdb command -v gdb
need strace command -v strace
need openssl command -v openssl
need wget command -v wget
need socat command -v socat
need rustc command -v rustc
need cargo test -x /usr/bin/cargo
need librust-rustls-dev sh -c 'ls -d /usr/share/cargo/registry/rustls-*'

[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
	echo "missing:$missing; run as root once, or install them" >&2
	exit 1
fi
apt-get -q update
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
