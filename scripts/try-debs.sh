#!/usr/bin/env bash
# try-debs.sh SUITE FOLDER: installs the packages of FOLDER in a fresh, minimal Debian of that suite; the program, a C
# program, and the Python module write the same text there; when they are removed, nothing is left.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/chroot.sh
suite=${1:?bookworm or trixie}
debs=${2:?the folder of the packages}

root=$(mktemp -d)
trap 'end_chroot "$root"' EXIT
new_chroot "$suite" "$root"
mkdir "$root/try"
cp "$debs"/*.deb models/novella-7m-q8_0.gguf examples/endless.c "$root/try"

cat >"$root/try/all.sh" <<'TRY'
set -euo pipefail
cd /try
find /usr /etc -xdev \( -type f -o -type l \) | sort >before
apt-get -qq update
apt-get -qq install -y --no-install-recommends ./*.deb gcc libc6-dev pkg-config >log 2>&1 || { tail -n 20 log; exit 1; }
[[ $(dpkg-query -W -f '${db:Status-Status} ' runnel librunnel1 librunnel-dev python3-runnel) == "installed installed installed installed " ]]

model=/try/novella-7m-q8_0.gguf
runnel generate $model -p "It was a dark night" -n 200 --seed 5 --quiet >program
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
# A minimal system leaves documents out when it was made so; here the pages have to be there.
test -f /usr/share/man/man1/runnel-generate.1.gz
bash -c 'source /usr/share/bash-completion/completions/runnel; complete -p runnel' >/dev/null
python3 -c 'from importlib.metadata import version; print("python3-runnel", version("runnel"))'

apt-get -qq purge -y runnel librunnel1 librunnel-dev python3-runnel >log 2>&1 || { tail -n 20 log; exit 1; }
find /usr /etc -xdev -iname '*runnel*' | grep . && { echo "left behind"; exit 1; }
runnel --version >/dev/null 2>&1 && exit 1
echo "installed, tried and removed"
TRY
inside "$root" bash ${TRY_TRACE:+-x} /try/all.sh 2>&1 | sed "s/^/$suite: /"
