#!/usr/bin/env bash
# Prints the table of faults, as measured here and now: bash tests/tail/table.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
TESTWIRE_FAULT_TABLE=$rows cargo test --release --test tail -- --test-threads 1 >&2
printf '| what happens | lines written | in the sink | lost | doubled | sent again, identical |\n|---|---:|---:|---:|---:|---:|\n'
cat "$rows"
