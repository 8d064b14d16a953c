#!/usr/bin/env bash
# Runs all tests and ends with their totals, before which REPORT, a command, prints what else is to be seen.
set -euo pipefail
# Most of the time they wait for leases and servers, not for a processor.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-4}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --all-features 2>&1 | tee "$log" || status=$?
[ -z "${REPORT:-}" ] || $REPORT || echo "$REPORT failed"
awk '/^test result:/ { p += $4; f += $6 } END { printf "%d passed, %d failed\n", p, f }' "$log"
exit "$status"
