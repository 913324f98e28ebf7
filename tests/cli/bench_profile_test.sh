#!/usr/bin/env bash
# bench --profile: where the time of a token goes, by parts of a layer.
source tests/cli/support.sh

few=(bench "$MODEL" --window 60 --runs 1 --ingest 64 --decode 16 --prompt 16)
expect_exit 0 "$RUNNEL" "${few[@]}" --profile
expect_text "$WORK/out" "a token that is read"
expect_text "$WORK/out" "a token that is written"
for part in "q, k, v" "attention" "gate, up, activation" "down" "logits"; do
  expect_text "$WORK/out" "  $part  .* us .* %"
done

# For programs: what computes a part, and what it reads and multiplies.
expect_exit 0 "$RUNNEL" "${few[@]}" --profile --json
python3 - "$WORK/out" <<'PY'
import json, sys
parts = json.load(open(sys.argv[1]))["profile"]["written"]
assert all(part["seconds"] > 0 for part in parts), parts
down = [part for part in parts if part["part"] == "down"][0]
assert "Q8_0" in down["kernels"] and down["multiply_adds"] > 0 and down["weight_bytes"] > 0, down
PY

# Streams together: a part of its own.
expect_exit 0 "$RUNNEL" "${few[@]}" --streams 3 --profile
expect_text "$WORK/out" "a token of 3 streams that are written together"
expect_exit 0 "$RUNNEL" "${few[@]}" --streams 3
! grep -q "a token that is" "$WORK/out" || fail "a profile that nobody asked for"
