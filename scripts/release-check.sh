#!/usr/bin/env bash
# What a release needs beyond `.ci/run`: every crate as it would be published, built from its own package; licences and
# sources of dependencies; with a tag, whether the public API is compatible with it. Installs what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
install() { # install COMMAND: into .tools
  command -v "$1" > /dev/null || cargo install --locked --root .tools "$1"
}
export PATH="$PWD/.tools/bin:$PATH"
install cargo-deny
cargo publish --workspace --dry-run --exclude shared-store-support
cargo deny check bans licenses sources
echo "known vulnerabilities are not checked here: cargo deny check advisories (needs the network)"
if tag=$(git describe --tags --abbrev=0 2> /dev/null); then
  install cargo-semver-checks
  cargo semver-checks --workspace --exclude shared-store-support --exclude shared-store-cli --baseline-rev "$tag"
else
  echo "no tag yet: nothing to be compatible with"
fi
