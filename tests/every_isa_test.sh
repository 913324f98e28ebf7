#!/usr/bin/env bash
# The decoder's agreement with the references, and chunks against single steps, with every instruction
# set of this machine but the best one, with which all the other tests run.
source tests/cli/support.sh

RUNNEL_ISA=none "$RUNNEL" ppl "$MODEL" README.md 2>"$WORK/err" && fail "there is no instruction set none"
read -ra names < <(sed -n 's/.*which has: //p' "$WORK/err" | tr -d ,)
expect_same "${names[0]}" portable
exactness='*GoldenLogits*:*FixtureLogits*:*GoldenNll*sink_4_28:*GoldenNll*sink_4_60:PackedModel.*:ReferenceForward.*'
for name in "${names[@]:0:${#names[@]}-1}"; do
  echo "== $name"
  RUNNEL_ISA=$name "${BUILD_DIR:?}/tests/runnel_tests" --gtest_brief=1 --gtest_filter="$exactness"
done

# A matrix unit is imitated in software where the processor has none, which wants the AVX-512 of such processors.
tile_tests="$BUILD_DIR/tests/runnel_tile_tests"
if [ -x "$tile_tests" ] && "$tile_tests" --gtest_list_tests | grep -q /amx; then
  echo "== amx"
  "$tile_tests" --gtest_brief=1 --gtest_filter="*/amx:*GoldenLogits*:*FixtureLogits*:*GoldenNll*sink_4_28:ReferenceForward.*:PackedModel.*Architecture:Batch.*"
else
  echo "skipped: amx, for there is no AVX-512 with bfloat16 here"
fi
