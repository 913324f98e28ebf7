#!/usr/bin/env bash
# bench_widen makes a larger model that computes what the small one does, and refuses a smaller one.
source tests/cli/support.sh

widen=$BUILD_DIR/bench/bench_widen
[[ -x $widen ]] || { echo "skipped: built without benchmarks"; exit 0; }

expect_exit 0 "$widen" "$MODEL" "$WORK/wide.gguf" 10 512 1024
expect_same "$("$RUNNEL" info "$WORK/wide.gguf" --json | jq -c '[.metadata["llama.block_count", "llama.embedding_length"]]')" "[10,512]"
perplexity() { "$RUNNEL" ppl "$1" models/README.md --window 60 --kv-type f32 --json | jq .perplexity; }
jq -ne --argjson small "$(perplexity "$MODEL")" --argjson wide "$(perplexity "$WORK/wide.gguf")" \
  '$wide / $small - 1 | fabs < 0.005' >/dev/null || fail "widened it has another perplexity"

expect_exit 1 "$widen" "$MODEL" "$WORK/none.gguf" 7
expect_text "$WORK/err" "wanted at least 8 layers of 256 and 768, found 7 of 2048 and 5632"
[[ ! -e $WORK/none.gguf ]] || fail "a failed run left a file"
