#!/usr/bin/env bash
# Installs the program, its completions, manual pages, systemd unit and configuration: DESTDIR=... PREFIX=/usr scripts/install.sh
set -euo pipefail
cd "$(dirname "$0")/.."
prefix="${PREFIX:-/usr/local}"
root="${DESTDIR:-}"
binary="${BINARY:-target/release/shared-store}"
put() { install -D -m "$1" "$2" "$root$3"; }

put 755 "$binary" "$prefix/bin/shared-store"
share="$prefix/share"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$binary" completions bash > "$work/bash"
"$binary" completions zsh > "$work/zsh"
"$binary" completions fish > "$work/fish"
put 644 "$work/bash" "$share/bash-completion/completions/shared-store"
put 644 "$work/zsh" "$share/zsh/site-functions/_shared-store"
put 644 "$work/fish" "$share/fish/vendor_completions.d/shared-store.fish"
mkdir "$work/man"
"$binary" man --all "$work/man"
for page in "$work"/man/*; do
    put 644 "$page" "$share/man/man1/$(basename "$page")"
done
for unit in shared-store.service shared-store-mirror.service; do
    sed "s#/usr/bin/#$prefix/bin/#" "service/packaging/$unit" > "$work/unit"
    put 644 "$work/unit" "/lib/systemd/system/$unit"
done
put 644 service/packaging/grafana-dashboard.json "$share/shared-store/grafana-dashboard.json"
put 644 service/packaging/alerts.yml "$share/shared-store/alerts.yml"
# Configuration of an administrator stays.
for file in "serve.toml shared-store/serve.toml" "mirror.toml shared-store/mirror.toml" "packaging/shared-store.default default/shared-store"; do
    read -r from to <<< "$file"
    [ -e "$root/etc/$to" ] || put 644 "service/$from" "/etc/$to"
done
