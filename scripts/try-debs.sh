#!/usr/bin/env bash
# try-debs.sh SUITE FOLDER [all]: installs the packages of FOLDER in a fresh, minimal Debian of that suite; the program, a C
# program, and the Python module write the same text there; when they are removed, nothing is left. With "all" also what
# wants more packages of Debian: CMake and C++, manual pages, completion, the service.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/chroot.sh
suite=${1:?bookworm or trixie}
debs=${2:?the folder of the packages}
extent=${3:-}

root=$(mktemp -d)
trap 'end_chroot "$root"' EXIT
new_chroot "$suite" "$root"
mkdir "$root/try"
cp "$debs"/*.deb examples/endless.c examples/endless.cpp "$root/try"

cat >"$root/try/all.sh" <<'TRY'
set -euo pipefail
cd /try
find /usr /etc -xdev \( -type f -o -type l \) | sort >before
apt-get -qq update
wanted=(gcc libc6-dev pkg-config)
[[ $1 != all ]] || wanted+=(g++ cmake make man-db bash-completion systemd)
apt-get -qq install -y --no-install-recommends ./*.deb "${wanted[@]}" >log 2>&1 || { tail -n 20 log; exit 1; }
[[ $(dpkg-query -W -f '${db:Status-Status} ' runnel librunnel1 librunnel-dev python3-runnel) == "installed installed installed installed " ]]

model=$(runnel pull novella)
runnel generate novella -p "It was a dark night" -n 200 --seed 5 --quiet >program
gcc endless.c $(pkg-config --cflags --libs runnel) -o endless
./endless $model "It was a dark night" 200 5 >c 2>/dev/null
python3 -c '
import runnel, sys
stream = runnel.Model(sys.argv[1]).stream(seed=5)
stream.feed("It was a dark night")
print(stream.write(200) + stream.flush(), end="")' $model >python
[[ $(wc -c <python) -gt 300 ]]
[[ $(<python) == "$(<c)" && $(<program) == "$(<c)" ]] || { head -c 300 program c python; exit 1; }
[[ $(ldd endless) == *"librunnel.so.1 => /"* ]]

try_more() {
  # By way of CMake: the C++ example with the static library, the C one with the shared.
  mkdir cmake
  cat >cmake/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(endless LANGUAGES C CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(runnel REQUIRED)
add_executable(static ../endless.cpp)
target_link_libraries(static PRIVATE runnel::runnel)
add_executable(shared ../endless.c)
target_link_libraries(shared PRIVATE runnel::shared)
CMAKE
  { cmake -S cmake -B cmake/build && cmake --build cmake/build; } >log 2>&1 || { tail -n 20 log; exit 1; }
  cmake/build/shared $model "It was a dark night" 200 5 2>/dev/null | cmp - c
  [[ $(cmake/build/static $model "It was a dark night" 20 | wc -c) -gt 40 ]]

  # The pages, as man shows them; what follows `runnel gen` and a tabulator; the service.
  man runnel | grep 'endless streams' >/dev/null
  man runnel-generate | grep -e --window >/dev/null
  [[ $(bash -c 'source /usr/share/bash-completion/bash_completion; source /usr/share/bash-completion/completions/runnel
  COMP_WORDS=(runnel gen) COMP_CWORD=1 COMP_LINE="runnel gen" COMP_POINT=10
  $(complete -p runnel | sed -E "s/.* -F ([^ ]+) .*/\1/") runnel gen runnel; echo "${COMPREPLY[@]}"') == *generate* ]]
  install -Dm644 /usr/share/runnel/serve.toml /etc/runnel/serve.toml
  systemd-analyze verify runnel.service >verified 2>&1 || true
  if grep -i runnel.service verified; then exit 1; fi
  rm -r /etc/runnel
}
test -f /usr/share/man/man1/runnel-generate.1.gz
bash -c 'source /usr/share/bash-completion/completions/runnel; complete -p runnel' >/dev/null
if [[ $1 == all ]]; then try_more; fi
python3 -c 'from importlib.metadata import version; print("python3-runnel", version("runnel"))'

apt-get -qq purge -y runnel librunnel1 librunnel-dev python3-runnel >log 2>&1 || { tail -n 20 log; exit 1; }
find /usr /etc -xdev -iname '*runnel*' | grep . && { echo "left behind"; exit 1; }
runnel --version >/dev/null 2>&1 && exit 1
echo "installed, tried and removed"
TRY
inside "$root" bash ${TRY_TRACE:+-x} /try/all.sh "$extent" 2>&1 | sed "s/^/$suite: /"
