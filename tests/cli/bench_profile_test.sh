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

# The parts of a token written are all of its time: to a factor of three, for the machine has neighbours.
expect_exit 0 "$RUNNEL" "${few[@]}" --profile --json
python3 - "$WORK/out" <<'PY'
import json, sys
bench = json.load(open(sys.argv[1]))
parts = bench["profile"]["written"]
total = sum(part["seconds"] for part in parts)
token = 1 / bench["decode_tokens_per_second"]["median"]
assert token / 3 < total < token * 3, (total, token)
down = [part for part in parts if part["part"] == "down"][0]
assert "Q8_0" in down["kernels"] and down["multiply_adds"] > 0 and down["weight_bytes"] > 0, down
PY

# Streams together: a part of its own.
expect_exit 0 "$RUNNEL" "${few[@]}" --streams 3 --profile
expect_text "$WORK/out" "a token of 3 streams that are written together"
expect_exit 0 "$RUNNEL" "${few[@]}" --streams 3
! grep -q "a token that is" "$WORK/out" || fail "a profile that nobody asked for"
