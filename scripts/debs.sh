#!/usr/bin/env bash
# debs.sh BUILD: builds the project as Debian has it, and makes BUILD/debs/*.deb of it.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?the folder of the build}
mkdir -p "$build"
build=$(cd "$build" && pwd)

python=$build/venv/bin/python
if [[ ! -x $python ]]; then
  /usr/bin/python3 -m venv --system-site-packages "$build/venv"
  "$python" -m pip install --quiet --disable-pip-version-check "$(grep '^nanobind==' python/requirements.txt)"
fi
flags=(-DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr -DRUNNEL_TESTS=OFF -DRUNNEL_BENCH=OFF -DRUNNEL_PYTHON=ON
  "-DCMAKE_SHARED_LINKER_FLAGS=-Wl,-z,relro,-z,now"
  "-DCMAKE_EXE_LINKER_FLAGS=-Wl,-z,relro,-z,now" "-DCMAKE_MODULE_LINKER_FLAGS=-Wl,-z,relro,-z,now")
command -v ninja >/dev/null && flags+=(-G Ninja)
command -v ccache >/dev/null && flags+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
cmake -S . -B "$build" "${flags[@]}" >/dev/null
cmake --build "$build" -j "${JOBS:-$(nproc)}"
rm -rf "$build/debs"
(cd "$build" && umask 022 && cpack -G DEB -B "$build/debs" >"$build/cpack.log") || { cat "$build/cpack.log" >&2; exit 1; }
rm -rf "$build/debs/_CPack_Packages"
ls -1 "$build"/debs/*.deb
