#!/usr/bin/env bash
# Each instruction set's object file exports its table and nothing else. Anything more, an inline function of a header
# say, could be picked by the linker for code that runs on every machine.
set -euo pipefail
objects="$BUILD_DIR/CMakeFiles/runnel.dir/src/kernels"
if grep -q 'RUNNEL_SANITIZE:STRING=.' "$BUILD_DIR/CMakeCache.txt"; then
  echo "skipped: sanitizers add symbols of their own"
  exit 0
fi
failed=0
found=0
for isa in portable avx2 avx512 avx512_bf16 amx; do
  object="$objects/$isa.cpp.o"
  [ -f "$object" ] || continue
  found=$((found + 1))
  exported=$(nm --defined-only --extern-only "$object" | awk '{print $3}')
  if [ "$(echo "$exported" | wc -l)" -ne 1 ] || [[ "$exported" != *kPortable* && "$exported" != *kAvx* && "$exported" != *kAmx* ]]; then
    echo "$object exports: $exported"
    failed=1
  fi
done
[ "$found" -gt 0 ] || { echo "no kernel objects below $objects"; exit 1; }
exit $failed
