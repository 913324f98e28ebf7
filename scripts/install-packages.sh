#!/usr/bin/env bash
# Installs the Debian packages that the build and the tests need, when any is missing. Quiet otherwise.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libcli11-dev libfmt-dev nlohmann-json3-dev libpcre2-dev
  libxxhash-dev libedit-dev libgtest-dev libbenchmark-dev gnuplot-nox clang-format-14 clang-tidy-14
  binutils jq)

if ! command -v dpkg-query >/dev/null; then
  echo "install-packages: not a Debian system; the build needs what these hold: ${packages[*]}" >&2
  exit 0  # they may be there under other names; CMake says what is not
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install-packages: missing: ${missing[*]}" >&2
    echo "install-packages: as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -qq &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "install-packages: could not install: ${missing[*]}" >&2
  exit 1
fi
