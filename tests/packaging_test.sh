# What packaging/ holds, as far as it can be tested without systemd, an engine for containers, or a cluster.
source tests/cli/support.sh

# The unit's command, with the folders that systemd would give it: it starts, answers and stops.
unit=packaging/systemd/runnel.service
command=$(grep -oP '^ExecStart=runnel \K.*' "$unit")
mkdir -p "$WORK/state" "$WORK/credentials" "$WORK/etc"
echo secret >"$WORK/credentials/keys"
sed "s|^port = .*|port = 0|" packaging/systemd/serve.toml >"$WORK/etc/serve.toml"
command=${command//\/etc\/runnel/$WORK\/etc}
command=${command//'${STATE_DIRECTORY}'/$WORK\/state}
command=${command//'${CREDENTIALS_DIRECTORY}'/$WORK\/credentials}
# shellcheck disable=SC2086
"$RUNNEL" $command 2>"$WORK/log" &
PID=$!
trap 'kill -9 $PID 2>/dev/null || true; rm -rf "$WORK"' EXIT
for _ in $(seq 600); do
  URL=$(grep -oE 'http://[^ :]+:[0-9]+' "$WORK/log" | head -1) || true
  [[ -n $URL ]] && break
  kill -0 $PID 2>/dev/null || fail "the server ended: $(cat "$WORK/log")"
  sleep 0.1
done
if command -v curl >/dev/null; then
  expect_same "$(curl -s -o /dev/null -w '%{http_code}' "$URL/v1/models")" 401
  expect_same "$(curl -s -o /dev/null -w '%{http_code}' -H 'X-Api-Key: secret' "$URL/v1/models")" 200
fi
kill -TERM $PID
code=0
wait $PID || code=$?
expect_same $code 0
[[ -f $WORK/state/runnel.sqlite ]] || fail "nothing was written to the state's folder"

if command -v systemd-analyze >/dev/null; then
  sed "s|=runnel |=$(realpath "$RUNNEL") |" "$unit" >"$WORK/runnel.service"
  systemd-analyze verify "$WORK/runnel.service" 2>"$WORK/err" || fail "the unit: $(cat "$WORK/err")"
  ! grep -i "runnel.service" "$WORK/err" || fail "the unit: $(cat "$WORK/err")"
  systemd-analyze security --offline=true --threshold=20 "$WORK/runnel.service" >"$WORK/out" ||
    fail "the unit is exposed: $(tail -3 "$WORK/out")"
else
  echo "not checked, because systemd-analyze is not there: the unit"
fi

# The container: known instructions, files that are there, and a command that the program takes.
container=packaging/Containerfile
unknown=$(sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$container" | grep -vE '^(#|$)' |
  grep -vE '^(FROM|SHELL|WORKDIR|COPY|RUN|ENV|USER|VOLUME|EXPOSE|STOPSIGNAL|ENTRYPOINT) ' || true)
[[ -z $unknown ]] || fail "$container: $unknown"
for file in scripts/packages.sh "$MODEL"; do
  expect_text "$container" "$file"
  [[ -f $file ]] || fail "$container copies what is not there: $file"
done
entry=$(grep -oP '^ENTRYPOINT \K.*' "$container")
if command -v jq >/dev/null; then
  mapfile -t words < <(jq -r '.[]' <<<"$entry")
  expect_same "${words[0]}" /usr/bin/runnel
  "$RUNNEL" "${words[@]:1:1}" --help >"$WORK/help"
  for word in "${words[@]:2}"; do
    [[ $word != --* ]] || grep -q -- "$word" "$WORK/help" || fail "$container: no option $word"
  done
fi
# Every library that the program is linked with is installed.
if command -v ldd >/dev/null && command -v dpkg >/dev/null && ldd "$RUNNEL" >"$WORK/libraries" 2>/dev/null; then
  mapfile -t runtime < <(sed -n '/^FROM debian.*slim$/,$p' "$container" | tr ' \\' '\n\n' | grep -E '^lib[a-z0-9.+-]+$')
  while read -r file; do
    package=$(dpkg -S "$(realpath "$file")" 2>/dev/null | cut -d: -f1 | head -1) || continue
    case $package in libc6 | libgcc-s1 | libtinfo6 | libbsd0 | libmd0 | "") continue ;; esac  # of every Debian, or of libedit2
    [[ " ${runtime[*]} " == *" $package "* ]] || fail "$container: the program wants $package"
  done < <(grep -oP '=> \K/[^ ]+' "$WORK/libraries")
fi

# The recipes want every library that the build wants, under the names of their worlds, and can be read.
# shellcheck source=scripts/packages.sh
source scripts/packages.sh
for package in "${libraries[@]}"; do
  name=$(sed -E 's/^lib//; s/-dev$//; s/[0-9.]+$//; s/json3/json/; s/^ssl/openssl/; s/-/./' <<<"$package")
  for recipe in packaging/recipes/*; do
    grep -qiE "^[^#]*$name" "$recipe" || fail "$recipe: no $name, which the build wants ($package)"
  done
done
version=$(grep -oP '^version = "\K[^"]+' pyproject.toml)
expect_text packaging/recipes/runnel.nix "version = \"$version\""
expect_text packaging/recipes/conda-forge.yaml "version: \"$version\""
python=${BUILD_DIR:?}/venv/bin/python
if "$python" -c 'import yaml' 2>/dev/null; then
  "$python" -c 'import sys, yaml; [yaml.safe_load(open(name)) for name in sys.argv[1:]]' \
    packaging/recipes/*.yaml .github/workflows/*.yml || fail "a file is no YAML"
fi
if command -v ruby >/dev/null; then
  ruby -c packaging/recipes/runnel.rb >/dev/null || fail "the formula is no Ruby"
fi
if command -v nix-instantiate >/dev/null; then
  nix-instantiate --parse packaging/recipes/runnel.nix >/dev/null 2>"$WORK/err" || fail "the derivation: $(cat "$WORK/err")"
fi

# A build where something is missing says all that is.
if cmake -S . -B "$WORK/needs" -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON -DCMAKE_DISABLE_FIND_PACKAGE_SQLite3=ON \
  -DRUNNEL_TESTS=OFF -DRUNNEL_BENCH=OFF >"$WORK/out" 2>&1; then
  fail "a build without CLI11"
fi
expect_text "$WORK/out" "apt-get install libcli11-dev libsqlite3-dev$"

if haproxy=$(command -v haproxy || ls /usr/sbin/haproxy 2>/dev/null); then
  FRONT=127.0.0.1:8080 A=127.0.0.1:8081 B=127.0.0.1:8082 "$haproxy" -c -f packaging/cluster/haproxy.cfg >"$WORK/out" 2>&1 ||
    fail "haproxy.cfg: $(cat "$WORK/out")"
else
  echo "not checked, because haproxy is not there: haproxy.cfg"
fi
