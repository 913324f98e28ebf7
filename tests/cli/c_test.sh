#!/usr/bin/env bash
# Programs in C and Rust write what the command line writes, with the shared library as it is installed and with the
# static one; the shared library shows the C interface and nothing else.
source tests/cli/support.sh

[[ -z ${EMULATOR:-} ]] || { echo "SKIPPED: the C compiler is not that of the emulated processor"; exit 0; }
cmake --install "${BUILD_DIR:?}" --prefix "$WORK/prefix" >"$WORK/log" || fail "$(cat "$WORK/log")"
lib=$(dirname "$(find "$WORK/prefix" -name runnel.pc)")/..
so=$lib/librunnel.so
export PKG_CONFIG_PATH=$lib/pkgconfig
PROMPT="It was a dark and stormy night"
sanitize=${SANITIZE:+-fsanitize=$SANITIZE}

# ---- what the shared library shows
[[ $(readelf -d "$so") == *"SONAME"*"[librunnel.so.1]"* ]] || fail "no SONAME librunnel.so.1"
nm -D --defined-only "$so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >"$WORK/symbols"
diff tests/fixtures/c_interface.symbols "$WORK/symbols" ||
  fail "the symbols of librunnel.so.1 have changed (tests/fixtures/c_interface.symbols): add, never take away"
[[ -z $(nm -D --defined-only "$so" | grep -v -e ' T runnel_' -e ' A RUNNEL_1') ]] || fail "symbols besides runnel_*"
grep -oP '^RUNNEL_API [^(]*?\K\brunnel_\w+(?=\()' include/runnel/runnel.c.h | sort | diff - "$WORK/symbols" ||
  fail "the header and the library differ"

# ---- C
"$RUNNEL" generate "$MODEL" -p "$PROMPT" -n 300 --seed 5 --quiet >"$WORK/want" 2>/dev/null
# shellcheck disable=SC2046
cc -std=c99 -Wall -Wextra -Werror -pedantic $sanitize examples/endless.c -o "$WORK/shared" \
  $(pkg-config --cflags --libs runnel) -Wl,-rpath,"$lib"
"$WORK/shared" "$MODEL" "$PROMPT" 300 5 >"$WORK/c" 2>"$WORK/err" || fail "$(cat "$WORK/err")"
diff <(cat "$WORK/want") <(cat "$WORK/c") >/dev/null || fail "C and the command line differ: $(head -c 300 "$WORK/c")"
expect_text "$WORK/err" "evicted [1-9]"
# shellcheck disable=SC2046
cc -std=c99 $sanitize examples/endless.c -o "$WORK/static" $(pkg-config --cflags runnel) "$lib/librunnel.a" \
  $(pkg-config --static --libs runnel | sed 's/-lrunnel//')
"$WORK/static" "$MODEL" "$PROMPT" 300 5 2>/dev/null | cmp - "$WORK/c" || fail "the static library differs"
expect_exit 1 "$WORK/shared" /nowhere.gguf x
expect_text "$WORK/err" "nowhere.gguf"

# ---- nothing is left behind by models and streams that come and go
# shellcheck disable=SC2046
cc -std=c99 -Wall -Wextra -Werror $sanitize tests/c/many.c -o "$WORK/many" $(pkg-config --cflags --libs runnel) \
  -Wl,-rpath,"$lib"
grown=$("$WORK/many" tests/fixtures/models/llama-gqa.gguf 1000 1)
[[ -n $sanitize || $grown -lt 2048 ]] || fail "1000 models and streams left $grown KiB behind"
if command -v valgrind >/dev/null && [[ -z $sanitize ]]; then
  RUNNEL_ISA=avx2 valgrind -q --leak-check=full --error-exitcode=9 "$WORK/many" tests/fixtures/models/llama-gqa.gguf 2 3 \
    >"$WORK/log" 2>&1 || fail "valgrind: $(head -n 30 "$WORK/log")"
fi

# ---- C by way of CMake
mkdir "$WORK/cmake"
cat >"$WORK/cmake/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(endless LANGUAGES C CXX)
find_package(runnel REQUIRED)
add_executable(endless $PWD/examples/endless.c)
target_link_libraries(endless PRIVATE runnel::shared)
END
{ cmake -S "$WORK/cmake" -B "$WORK/cmake/build" -DCMAKE_PREFIX_PATH="$WORK/prefix" "-DCMAKE_C_FLAGS=$sanitize" &&
  cmake --build "$WORK/cmake/build"; } >"$WORK/log" 2>&1 || fail "$(cat "$WORK/log")"
"$WORK/cmake/build/endless" "$MODEL" "$PROMPT" 300 5 2>/dev/null | cmp - "$WORK/c" || fail "runnel::shared differs"

# ---- Rust
if command -v rustc >/dev/null && [[ -z $sanitize ]]; then
  rustc -D warnings -O examples/endless.rs -L "native=$lib" -l dylib=runnel -C "link-arg=-Wl,-rpath,$lib" \
    -o "$WORK/rust" || fail "the Rust example does not compile"
  "$WORK/rust" "$MODEL" "$PROMPT" 300 5 | cmp - "$WORK/c" || fail "Rust and C differ"
else
  echo "SKIPPED: the Rust example (no rustc, or a sanitizer)"
fi
