#!/usr/bin/env bash
# Tests the page of `shared-store serve` in Chromium, with the built program on etcd. Installs what is missing: Node.js and
# Chromium as system packages, playwright-core into target/page-test. Screenshots are written to target/page.
set -euo pipefail
cd "$(dirname "$0")/.."

install() { # install PACKAGE
  if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
    echo "$1 is missing: install it${2:+, or set $2 to its path}" >&2
    exit 1
  fi
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  [ -n "${updated:-}" ] || $sudo apt-get update -qq
  updated=1
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

command -v npm >/dev/null || install npm
if [ -z "${CHROMIUM:-}" ]; then
  CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
  if [ -z "$CHROMIUM" ]; then
    install chromium CHROMIUM
    CHROMIUM=$(command -v chromium)
  fi
fi
tools=$PWD/target/page-test
mkdir -p "$tools" target/page
[ -f "$tools/package.json" ] || echo '{"private": true}' > "$tools/package.json"
[ -d "$tools/node_modules/playwright-core" ] ||
  npm install --prefix "$tools" --no-audit --no-fund --silent playwright-core@1

cargo build -p shared-store-cli
export CHROMIUM TOOLS=$tools SHOTS=$PWD/target/page
export PROGRAM=${PROGRAM:-$PWD/target/debug/shared-store} ETCD=${ETCD_35:-$PWD/.tools/etcd-3.5/etcd}
exec node --test --test-concurrency=1 --test-reporter=spec ${PAGE_TEST:+--test-name-pattern="$PAGE_TEST"} \
  service/tests/page/*.test.mjs
