#!/usr/bin/env bash
# The installed package is enough to build and run a program of one's own.
source tests/cli/support.sh

cmake --install "${BUILD_DIR:?}" --prefix "$WORK/prefix" >"$WORK/log" || fail "$(cat "$WORK/log")"
{ cmake -S examples -B "$WORK/build" -DCMAKE_PREFIX_PATH="$WORK/prefix" \
  -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS=${SANITIZE:+-fsanitize=$SANITIZE}" &&
  cmake --build "$WORK/build"; } >"$WORK/log" 2>&1 || fail "$(cat "$WORK/log")"

[[ $(wc -l <examples/endless.cpp) -lt 40 ]] || fail "the example is no longer short"
# shellcheck disable=SC2086
${EMULATOR:-} "$WORK/build/endless" "$MODEL" "It was a dark night" 400 >"$WORK/out" 2>"$WORK/err" ||
  fail "$(cat "$WORK/err")"
[[ $(wc -c <"$WORK/out") -gt 400 ]] || fail "hardly any text"
expect_text "$WORK/err" "evicted [1-9]"
${EMULATOR:-} "$WORK/prefix/bin/runnel" --version >/dev/null
