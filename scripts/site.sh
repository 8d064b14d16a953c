#!/usr/bin/env bash
# Builds the guide into target/site and checks its links.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.tools/bin:$PATH"
command -v mdbook > /dev/null || cargo install --locked --debug --root .tools mdbook
mdbook build docs --dest-dir "$PWD/target/site"
python3 scripts/links.py target/site
echo "target/site/index.html"
