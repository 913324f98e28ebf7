#!/usr/bin/env bash
# arm64-sysroot.sh FOLDER: unpacks Debian's libraries for 64-bit ARM, and all that they depend on, into FOLDER. Nothing
# is installed: apt works with lists and a state of its own, so the machine's packages stay as they are, and no
# root is needed. Quiet when FOLDER holds them already.
set -euo pipefail
source "$(dirname "$0")/packages.sh"
libraries+=(libgtest-dev libbenchmark-dev)
sysroot=${1:?the folder to unpack into}
[[ "$(cat "$sysroot/packages" 2>/dev/null)" == "${libraries[*]}" ]] && exit 0

echo "Unpacking libraries for arm64 into $sysroot" >&2
mkdir -p "$sysroot"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial
: >"$work/status"
apt_arm64=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
  -o Dir::State="$work" -o Dir::State::status="$work/status" -o Dir::Cache="$work")
if ! { "${apt_arm64[@]}" update &&
  "${apt_arm64[@]}" install -y --download-only --no-install-recommends "${libraries[@]}"; } >"$work/log" 2>&1; then
  cat "$work/log" >&2
  echo "arm64-sysroot: could not download for arm64: ${libraries[*]}" >&2
  exit 1
fi
for package in "$work"/archives/*.deb; do dpkg -x "$package" "$sysroot"; done
find "$sysroot" -type l -lname '/*' | while read -r link; do  # they mean a path below FOLDER
  ln -sfr "$sysroot$(readlink "$link")" "$link"
done
echo "${libraries[*]}" >"$sysroot/packages"
