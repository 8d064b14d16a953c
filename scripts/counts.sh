#!/usr/bin/env bash
# Instructions of the hot paths, as a report: benches/counts. Options are the program's.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
  echo "Instructions are not counted: valgrind is missing (Linux: apt-get install valgrind; macOS has none)"
  exit 0
fi
cargo run --quiet --release --package shared-store-counts -- "$@"
