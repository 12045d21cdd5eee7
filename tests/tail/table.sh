#!/usr/bin/env bash
# Measures the table of faults here and now, and prints it: bash tests/tail/table.sh
# With --write it also replaces the one in docs/tail.md. TESTWIRE_PROFILE=dev takes the debug build.
set -euo pipefail
cd "$(dirname "$0")/../.."
rows=$(mktemp)
table=$(mktemp)
trap 'rm -f "$rows" "$table"' EXIT
TESTWIRE_FAULT_TABLE=$rows cargo test --profile "${TESTWIRE_PROFILE:-release}" --test tail -- --test-threads 1 >&2
{
    printf '| what happens | lines written | in the sink | lost | doubled | sent again, identical |\n'
    printf '|---|---:|---:|---:|---:|---:|\n'
    sort "$rows"
} > "$table"
cat "$table"
if [ "${1:-}" = --write ]; then
    # Between the two marks, which stay.
    sed -i -e "/<!-- faults -->/r $table" -e '/<!-- faults -->/,/<!-- end of faults -->/{/^|/d}' docs/tail.md
fi
