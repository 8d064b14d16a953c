#!/usr/bin/env bash
# Installs what the build of the etcd feature needs and is missing: protoc and the google include files.
set -euo pipefail

if command -v protoc >/dev/null && printf 'syntax = "proto3"; import "google/protobuf/empty.proto";' > "${TMPDIR:-/tmp}/probe-$$.proto" \
  && protoc -I "${TMPDIR:-/tmp}" -I /usr/include -o /dev/null "${TMPDIR:-/tmp}/probe-$$.proto" 2>/dev/null; then
  rm -f "${TMPDIR:-/tmp}/probe-$$.proto"
  exit 0
fi
rm -f "${TMPDIR:-/tmp}/probe-$$.proto"

if command -v apt-get >/dev/null; then
  sudo=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "install protobuf-compiler and libprotobuf-dev as root, then try again" >&2; exit 1; }
    sudo=sudo
  fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends protobuf-compiler libprotobuf-dev >/dev/null
elif command -v protoc >/dev/null; then
  exit 0
else
  echo "protoc is missing: install it (macOS: brew install protobuf), then try again" >&2
  exit 1
fi
