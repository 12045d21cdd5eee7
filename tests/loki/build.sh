#!/usr/bin/env bash
# Builds the pinned Loki once: build.sh FILE. Does nothing if FILE is there.
set -euo pipefail

file=${1:?usage: build.sh FILE}
[ -x "$file" ] && exit 0
if ! command -v go >/dev/null; then
    echo "error: no Loki at hand, and no Go to build one" >&2
    echo "hint: set LOKI_URL or LOKI_BIN, put loki on the PATH, or install Go (https://go.dev/dl)" >&2
    exit 1
fi
mkdir -p "$(dirname "$file")"
file=$(realpath -m "$file")
echo "building Loki for the tests, once; this takes some minutes …" >&2
cd "$(dirname "$0")"
# Another build may be under way or be killed: the file appears whole or not at all.
CGO_ENABLED=0 go build -ldflags "-s -w" -o "$file.$$" github.com/grafana/loki/v3/cmd/loki
mv "$file.$$" "$file"
echo "built $file" >&2
