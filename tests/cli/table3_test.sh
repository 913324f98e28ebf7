#!/usr/bin/env bash
# table3: the rows of `ablate sinks`, each model with its own softmax, and the attention by layer.
source tests/cli/support.sh

mkdir "$WORK/t3"
expect_exit 1 "$RUNNEL" table3 "$WORK/t3" LICENSE
expect_text "$WORK/err" "want one .gguf file with vanilla in its name, found none"
for variant in vanilla zero sink; do "$RUNNEL" make-model "$WORK/t3/$variant.gguf" --type f32; done
text=docs/tour.md
expect_exit 0 "$RUNNEL" table3 "$WORK/t3" $text --caches 32,64 --limit 300 --texts 4 --json -o "$WORK/results"
cp "$WORK/out" "$WORK/table.json"
expect_same "$(jq -c '[.table3.rows[] | .model + " \(.cache)"][:6]' "$WORK/table.json")" \
  '["vanilla 32","vanilla 64","zero 32","zero 64","sink 32","sink 64"]'
expect_same "$(jq '.table3.rows | length' "$WORK/table.json")" 9
expect_same "$(jq '[.table3.rows[0], .table3.rows[4]] | .[0].sinks_1 == .[1].sinks_1' "$WORK/table.json")" true

softmax=(vanilla:standard zero:off-by-one)
for i in 0 1; do
  model=${softmax[i]%%:*}
  "$RUNNEL" ablate sinks "$WORK/t3/$model.gguf" $text --cache 32 --limit 300 --softmax "${softmax[i]#*:}" --json >"$WORK/ablation"
  expect_same "$(jq -c "[.table3.rows[$((2 * i))] | .sinks_0, .sinks_1, .sinks_2, .sinks_4]" "$WORK/table.json")" \
    "$(jq -c '[.rows[:4][].perplexity]' "$WORK/ablation")"
done
expect_same "$(jq '.table3.rows[0].sinks_4 != .table3.rows[2].sinks_4' "$WORK/table.json")" true
layers=$("$RUNNEL" info "$WORK/t3/sink.gguf" --json | jq '.metadata["llama.block_count"]')
expect_same "$(jq '.attention.rows | length' "$WORK/table.json")" "$layers"
expect_same "$(jq '[.attention.rows[] | .zero_nothing > 0 and .zero_nothing < 50] | all' "$WORK/table.json")" true
[[ -s $WORK/results/table3.csv && -s $WORK/results/table3-attention.csv ]] || fail "no tables"

cp "$WORK/t3/zero.gguf" "$WORK/t3/zero-2.gguf"
expect_exit 1 "$RUNNEL" table3 "$WORK/t3" $text
expect_text "$WORK/err" "found zero-2.gguf, zero.gguf"
expect_exit 2 "$RUNNEL" table3 "$WORK/t3" $text --caches 8
