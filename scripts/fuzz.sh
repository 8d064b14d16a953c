#!/usr/bin/env bash
# Fuzzes the targets (fuzz/src/bin, one file each) for so many seconds each: scripts/fuzz.sh [SECONDS [TARGET...]]
#
# With libFuzzer and coverage, on stable Rust: these are the flags of cargo-fuzz, without the sanitizers, which only a
# nightly compiler has and which code without `unsafe` does not need.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-20}
targets=("${@:2}")
if [ ${#targets[@]} = 0 ]; then
  for file in src/bin/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="--cfg fuzzing -Cpasses=sancov-module"
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
  coverage+=" -Cllvm-args=-sanitizer-coverage-$flag"
done
# With a target named, build scripts and macros are built without the flags.
RUSTFLAGS=$coverage cargo build --release --locked --target "$host"
failed=0
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  log=$(mktemp)
  # The corpus stays for the next run.
  if "target/$host/release/$target" "corpus/$target" -max_total_time="$seconds" -timeout=10 -max_len=4096 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 >"$log" 2>&1; then
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, $(ls "corpus/$target" | wc -l) kept"
  else
    cat "$log"
    echo "again: (cd fuzz && target/$host/release/$target $(sed -n 's/^.*Test unit written to //p' "$log"))"
    failed=1
  fi
  rm -f "$log"
done
exit $failed
