#!/usr/bin/env bash
# install-packages.sh [--tests] [PACKAGE...]: installs the Debian packages that the build needs, with --tests those of the
# tests too, and those named, when any is missing. Quiet otherwise.
set -euo pipefail
source "$(dirname "$0")/packages.sh"
packages=("${tools[@]}" "${libraries[@]}")
if [[ ${1:-} == --tests ]]; then
  packages+=("${test_packages[@]}")
  shift
fi
packages+=("$@")

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
