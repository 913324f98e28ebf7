#!/usr/bin/env bash
# Number formats of the cache, and windows that differ from layer to layer.
source tests/cli/support.sh

head -c 4000 docs/experiments.md >"$WORK/text"
bytes() { "$RUNNEL" info "$MODEL" --json "$@" | jq ".memory.stream_bytes.${kv:-f16}"; }

[[ $(kv=q4_0 bytes) -lt $(kv=q8_0 bytes) && $(kv=q8_0 bytes) -lt $(bytes) ]] || fail "fewer bits take no less memory"
[[ $(bytes --window 200,20) -lt $(bytes --window 200) ]] || fail "shorter windows take no less memory"

ppl() { "$RUNNEL" ppl "$MODEL" "$WORK/text" --json "$@"; }
ppl --window 60 >"$WORK/f16"
for options in "--kv-type q4_0" "--kv-type q8_0 --kv-rotate on" "--kv-type q4_0 --chunk 7"; do
  ppl --window 60 $options >"$WORK/out"
  expect_same "$(jq -s '(.[0].perplexity / .[1].perplexity - 1) | fabs < 0.02' "$WORK/out" "$WORK/f16")" true
  expect_same "$(jq '.kv_rotate' "$WORK/out")" true
done
expect_same "$(ppl --window 60 --kv-type q4_0 --kv-rotate off | jq '.kv_rotate')" null
expect_exit 1 "$RUNNEL" ppl "$MODEL" "$WORK/text" --kv-rotate on
expect_text "$WORK/err" "kv_rotate: want kv_type q8_0 or q4_0"

ppl --window 100,20x2 >"$WORK/out"
expect_same "$(jq -c '[.window, .layer_windows[0:4]]' "$WORK/out")" "[100,[100,20,20,100]]"
expect_same "$(jq '.evicted_from_shortest - .evicted' "$WORK/out")" 80
expect_same "$(jq '.horizon_of_shortest - .horizon' "$WORK/out")" 80
expect_exit 1 "$RUNNEL" ppl "$MODEL" "$WORK/text" --window 100,20 --policy recompute
expect_text "$WORK/err" "policy sink or window"

# Saved, resumed and never stopped.
options=(--window 60,9 --kv-type q4_0 -p "It was a dark and stormy night." --seed 3)
"$RUNNEL" generate "$MODEL" "${options[@]}" -n 120 >"$WORK/whole" 2>"$WORK/status"
expect_text "$WORK/status" "from the shortest layers"
"$RUNNEL" generate "$MODEL" "${options[@]}" -n 90 --save "$WORK/s" >"$WORK/first" 2>/dev/null
"$RUNNEL" generate "$MODEL" --resume "$WORK/s" -n 30 >"$WORK/rest" 2>/dev/null
expect_same "$(tr -d '\n' <"$WORK/whole")" "$(cat "$WORK/first" "$WORK/rest" | tr -d '\n')"
