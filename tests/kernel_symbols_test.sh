#!/usr/bin/env bash
# Each instruction set's object files export what lies in its namespace and nothing else. Anything more, an inline
# function of a header say, could be picked by the linker for code that runs on every machine.
set -euo pipefail
if grep -q 'RUNNEL_SANITIZE:STRING=.' "$BUILD_DIR/CMakeCache.txt"; then
  echo "skipped: sanitizers add symbols of their own"
  exit 0
fi
failed=0
found=0
for isa in $(grep -oP 'X\(\K[a-z]\w+' "$BUILD_DIR/generated/kernels/tables/built.h"); do
  while IFS= read -r object; do
    found=$((found + 1))
    exported=$(nm --defined-only --extern-only "$object" | awk '{print $3}')
    if [ -z "$exported" ] || grep -vE "^_ZNK?6runnel7kernels${#isa}${isa}[0-9]" <<<"$exported"; then
      echo "$object exports: $exported"
      failed=1
    fi
  done < <(find "$BUILD_DIR/CMakeFiles/runnel_$isa.dir" -name '*.o')
done
[ "$found" -ge 4 ] || { echo "no kernel objects in $BUILD_DIR"; exit 1; }
exit $failed
