#!/usr/bin/env bash
# debs-of.sh SUITE FOLDER: builds the packages inside a Debian of another suite than this machine's.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/chroot.sh
source scripts/packages.sh
suite=${1:?trixie, say}
folder=${2:?the folder for the packages}

root=$(mktemp -d)
trap 'umount "$root/ccache" 2>/dev/null || true; end_chroot "$root"' EXIT
new_chroot "$suite" "$root"
mkdir -p "$root/source" "$root/ccache" "$folder"
git ls-files -z | tar --null -T - -cf - | tar -C "$root/source" -xf -
cache=${CCACHE_DIR:-$HOME/.cache/ccache}
mkdir -p "$cache"
mount --bind "$cache" "$root/ccache"

python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$root/wheels" \
  "$(grep '^nanobind==' python/requirements.txt)"

wanted=("${tools[@]}" "${libraries[@]}" ccache python3-venv python3-dev file dpkg-dev)
cat >"$root/build.sh" <<BUILD
set -euo pipefail
apt-get -qq update
wanted=()
for package in ${wanted[*]}; do  # Boost's packages have their version in their name
  [[ \$(apt-cache policy "\$package") =~ Candidate:\ [0-9] ]] || package=\$(sed -E 's/boost[0-9.]+/boost/' <<<"\$package")
  wanted+=("\$package")
done
apt-get -qq install -y --no-install-recommends "\${wanted[@]}" >/log 2>&1 || { tail -n 20 /log; exit 1; }
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels CCACHE_DIR=/ccache JOBS=${JOBS:-$(nproc)}
exec /source/scripts/debs.sh /source/build-deb
BUILD
inside "$root" bash /build.sh >"$folder/build.log" 2>&1 || { tail -n 40 "$folder/build.log" >&2; exit 1; }
cp "$root"/source/build-deb/debs/*.deb "$folder"
ls -1 "$folder"/*.deb
