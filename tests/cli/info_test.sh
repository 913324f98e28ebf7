#!/usr/bin/env bash
# info and bench: the words for people, the JSON for programs.
source tests/cli/support.sh

expect_exit 0 "$RUNNEL" info "$MODEL"
expect_text "$WORK/out" "general.architecture *llama"
expect_text "$WORK/out" "Q8_0 *57 tensors"
expect_text "$WORK/out" "window 251"
expect_exit 0 "$RUNNEL" info "$MODEL" --tensors
expect_text "$WORK/out" "token_embd.weight *Q8_0 *\[256, 4096\]"

bytes() { "$RUNNEL" info "$MODEL" --json "$@" | jq ".memory.stream_bytes.$kv"; }
kv=f16
small=$(bytes --window 100)
[[ $(bytes --window 200) -gt $small ]] || fail "a larger window takes no more memory"
[[ $(kv=f32 bytes --window 100) -gt $small ]] || fail "an f32 cache takes no more memory"
expect_same "$("$RUNNEL" info "$MODEL" --json --tensors | jq '.tensors | length')" 74
expect_exit 1 "$RUNNEL" info README.md

expect_exit 0 "$RUNNEL" bench "$MODEL" --runs 2 --ingest 64 --decode 8 --prompt 16 --window 60
expect_text "$WORK/out" "decode .*tokens/s"
expect_exit 0 "$RUNNEL" bench "$MODEL" --runs 2 --ingest 64 --decode 8 --prompt 16 --window 60 --json --start 2000000
expect_same "$(jq '.decode_tokens_per_second | .min <= .median and .median <= .max' "$WORK/out")" true
expect_same "$(jq '.evicted > 0 and .window == 60' "$WORK/out")" true
