#!/usr/bin/env bash
# Prints every public item of each library crate with all features, and how many there are. Installs cargo-public-api
# into .tools if it is missing; that reads rustdoc's JSON, which needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.tools/bin:$PATH"
command -v cargo-public-api > /dev/null || cargo install --locked --root .tools cargo-public-api
for crate in shared-store-core shared-store; do
  # Without the implementations that every type has.
  items=$(cargo public-api --package "$crate" --all-features -sss)
  printf '%s\n%s: %s public items\n\n' "$items" "$crate" "$(wc -l <<< "$items")"
done
