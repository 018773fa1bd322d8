#!/bin/sh
# Builds the data plane again and compares it with what is committed.
set -eu
cd "$(dirname "$0")/.."

kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
cp agent/leakstop/bpf/*.bpf.o "$kept"
make --no-print-directory --silent bpf
for object in agent/leakstop/bpf/*.bpf.o; do
	if ! cmp -s "$object" "$kept/$(basename "$object")"; then
		echo "$object is not what its sources make with $(clang --version | head -n 1):" >&2
		sha256sum "$kept/$(basename "$object")" "$object" >&2
		echo "run \`make bpf\` and commit the result" >&2
		exit 1
	fi
done
