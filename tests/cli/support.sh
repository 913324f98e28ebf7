# For the tests of the command line: $RUNNEL is the built program, the tests run in the project's folder.
set -euo pipefail

: "${RUNNEL:?the built program}"
MODEL=models/novella-7m-q8_0.gguf
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# Models that were pulled are asked for by name; everything else works as on a machine without any.
real_cache=${RUNNEL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/runnel}
export RUNNEL_CACHE=$WORK/cache
unset RUNNEL_MODEL

# pulled NAME: its file; where it was not pulled says so and fails.
pulled() {
  local file
  file=$(RUNNEL_CACHE=$real_cache "$RUNNEL" pull --list | awk -v name="$1" '$1 == name {found = 1; next}
    found {if (/^ /) {sub(/^ +/, ""); print}; exit}')
  [[ -n $file ]] && echo "$file" || { echo "not checked, because $1 was not pulled" >&2; return 1; }
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect_exit CODE COMMAND...: runs it with its output in $WORK/out and $WORK/err.
expect_exit() {
  local wanted=$1 found=0
  shift
  "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || found=$?
  [[ $found -eq $wanted ]] || fail "exit code $found, want $wanted: $* ($(head -c 300 "$WORK/err"))"
}

# expect_text FILE PATTERN
expect_text() {
  grep -q -- "$2" "$1" || fail "want '$2' in: $(head -c 500 "$1")"
}

expect_same() {
  [[ $1 == "$2" ]] || fail "want '$2', found '$1'"
}
