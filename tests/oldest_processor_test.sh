#!/usr/bin/env bash
# The built program runs on any processor of its kind: an emulated one without AVX gets the portable kernels, and the
# text that they write on this machine.
source tests/cli/support.sh

if [[ $(uname -m) != x86_64 ]] || ! command -v qemu-x86_64 >/dev/null; then
  echo "skipped: not on x86-64, or without qemu-x86_64 (package qemu-user)"
  exit 0
fi
if grep -q 'RUNNEL_SANITIZE:STRING=.' "${BUILD_DIR:?}/CMakeCache.txt"; then
  echo "skipped: sanitizers do not run in the emulator"
  exit 0
fi
emulated=(qemu-x86_64 -cpu qemu64 "$RUNNEL")
story=(generate "$MODEL" -p "It was a dark night" -n 30 --window 12 --quiet)

RUNNEL_ISA=none expect_exit 1 "${emulated[@]}" ppl "$MODEL" LICENSE
expect_text "$WORK/err" "which has: portable$"
RUNNEL_ISA="" expect_exit 0 "${emulated[@]}" "${story[@]}"
expect_same "$(cat "$WORK/out")" "$(RUNNEL_ISA=portable "$RUNNEL" "${story[@]}")"
[[ -s $WORK/out ]] || fail "no text"
