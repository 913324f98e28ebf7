#!/usr/bin/env bash
# The laboratory: each experiment in small, its files, a run that is stopped and goes on, the report.
source tests/cli/support.sh

for i in $(seq 60); do
  echo "It was a dark night on the road number $i. The old man sat by the fire and thought of his brother."
  echo "She would not come to the house on the hill, and he knew it well. There was nothing to be done."
done >"$WORK/text"
head -c 3000 LICENSE >>"$WORK/text"

for command in attention ablate streameval latency report; do
  expect_exit 0 "$RUNNEL" "$command" --help
  expect_text "$WORK/out" "^Examples:"
done

# Several policies: a table, the values of every token, curves.
expect_exit 0 "$RUNNEL" ppl "$MODEL" "$WORK/text" --policy all --window 28 --limit 700 \
  --recompute-tokens 10 --dense-tokens 300 -o "$WORK/ppl"
expect_text "$WORK/out" "^recompute "
expect_same "$(jq -c '[.rows[].policy]' "$WORK/ppl/perplexity.json")" '["dense","window","sink","recompute"]'
expect_same "$(jq -c '[.rows[].tokens]' "$WORK/ppl/perplexity.json")" '[299,699,699,43]'
[[ $(tail -n +2 "$WORK/ppl/perplexity-curves.csv" | cut -d, -f1 | sort -u | wc -l) -eq 4 ]] || fail "curves"
[[ ! -e $WORK/ppl/perplexity-state ]] || fail "a finished run left its state"
if command -v gnuplot >/dev/null; then
  [[ -s $WORK/ppl/perplexity.svg && -s $WORK/ppl/perplexity.png ]] || fail "no picture"
else
  expect_text "$WORK/out" "install gnuplot"
  echo "gnuplot is not installed: pictures not checked"
fi
# "Past the cache" is the same in the table and in the words.
for row in 1 2; do
  past=$(jq ".rows[$row].evicting_perplexity" "$WORK/ppl/perplexity.json" | xargs printf '%.2f')
  expect_text "$WORK/ppl/perplexity.json" "verdict.* $past\b"
done
expect_text "$WORK/ppl/perplexity.json" "over 666 tokens; at the 10 positions"
# One policy of a study is the plain command's number.
"$RUNNEL" ppl "$MODEL" "$WORK/text" --window 28 --limit 700 --json >"$WORK/plain.json"
expect_same "$(jq -n --slurpfile a "$WORK/plain.json" --slurpfile b "$WORK/ppl/perplexity.json" \
  '($a[0].mean_nll - $b[0].rows[2].mean_nll) | fabs < 1e-6')" true
expect_exit 2 "$RUNNEL" ppl "$MODEL" "$WORK/text" --policy sink,forgetful

# Stopped at any time and begun again, the values are those of an uninterrupted run.
study() { "$RUNNEL" ppl "$MODEL" "$WORK/text" --policy window,sink --window 28 -o "$1" >/dev/null 2>"$WORK/err"; }
study "$WORK/whole"
study "$WORK/parts" &
sleep 0.3
kill -INT $! 2>/dev/null || true
wait $! || fail "Ctrl-C: exit code $?"
study "$WORK/parts"
for policy in window sink; do
  cmp "$WORK/whole/perplexity-$policy.npy" "$WORK/parts/perplexity-$policy.npy"
done

expect_exit 0 "$RUNNEL" attention "$MODEL" "$WORK/text" --texts 6 --heads -o "$WORK/attention"
expect_same "$(head -c 6 "$WORK/attention/attention-heads.npy" | tail -c 5)" NUMPY
expect_same "$(wc -l <"$WORK/attention/sink-scores.csv")" 33
expect_exit 1 "$RUNNEL" attention "$MODEL" "$WORK/text" --length 100000

expect_exit 0 "$RUNNEL" ablate sinks "$MODEL" "$WORK/text" --cache 32 --limit 400 --json
expect_same "$(jq -c '[.rows[].row]' "$WORK/out")" '["0 + 32","1 + 31","2 + 30","4 + 28","8 + 24"]'
expect_exit 2 "$RUNNEL" ablate nothing "$MODEL" "$WORK/text"
for kind in sinks window linebreak softmax kv-type; do
  expect_exit 2 "$RUNNEL" ablate $kind "$MODEL" "$WORK/text" --cache 64 --window 30
  expect_text "$WORK/err" "cache"
done
expect_exit 2 "$RUNNEL" ablate softmax "$MODEL" "$WORK/text" --softmax standard
expect_exit 2 "$RUNNEL" ablate kv-type "$MODEL" "$WORK/text" --kv-type f32
expect_text "$WORK/err" "kv-type: it changes from row to row"
expect_exit 2 "$RUNNEL" ablate linebreak "$MODEL" "$WORK/text" --sinks 2 --cache 32
expect_exit 0 "$RUNNEL" ablate softmax "$MODEL" "$WORK/text" --sinks 2 --cache 32 --limit 200 --json
expect_text "$WORK/out" '"standard, 2 + 30"'
expect_exit 1 "$RUNNEL" ablate sinks "$MODEL" "$WORK/text" --cache 32 --limit 50
expect_exit 0 "$RUNNEL" ablate --layers "$MODEL" "$WORK/text" --cache 64 --short 8 --limit 200 -o "$WORK/layers" --json
expect_same "$(jq -r '.rows | [.[0, 1, -1].row] | join(", ")' "$WORK/out")" "no layer, layer 0, all layers"
expect_same "$(jq '(.rows[0].cache_mib > .rows[1].cache_mib) and (.rows[-1].cache_mib < .rows[1].cache_mib)' "$WORK/out")" true
[[ -s $WORK/layers/ablation-layers.csv && -s $WORK/layers/ablation-layers.svg ]] || fail "no table or picture of layers"
expect_exit 2 "$RUNNEL" ablate sinks "$MODEL" "$WORK/text" --short 8
expect_exit 1 "$RUNNEL" ablate layers "$MODEL" "$WORK/text" --cache 64 --short 60
expect_text "$WORK/err" "short window below the long one of 60"
expect_text "$WORK/err" "tokens"

expect_exit 0 "$RUNNEL" latency "$MODEL" "$WORK/text" --windows 16,32 --tokens 3 --recomputed-tokens 2 --json
expect_same "$(jq '[.rows[].recompute_to_sink > 0] | all' "$WORK/out")" true

"$RUNNEL" streameval "$MODEL" --lines 60 -o "$WORK/a" >"$WORK/one" 2>/dev/null
"$RUNNEL" streameval "$MODEL" --lines 60 -o "$WORK/b" >"$WORK/two" 2>/dev/null
cmp "$WORK/one" "$WORK/two"
cmp "$WORK/a/streameval-queries.csv" "$WORK/b/streameval-queries.csv" || fail "the same seed gave other answers"
for distance in 100 2,30; do
  expect_exit 2 "$RUNNEL" streameval "$MODEL" --lines 30 --distance $distance
  expect_text "$WORK/err" "distances of at most 29, the line of the last question, found ${distance#2,}"
done
expect_exit 0 "$RUNNEL" streameval "$MODEL" --lines 30 --distance 29 --json
expect_same "$(jq .rows[0].queries "$WORK/out")" 1
expect_exit 1 "$RUNNEL" streameval "$MODEL" --chat
expect_text "$WORK/err" "no chat template"
if model=$(pulled smollm2); then # a dialogue: a turn for each question, and the turns' own tokens count too
  expect_exit 0 "$RUNNEL" streameval "$model" --chat --lines 30 --distance 1,12 --window 250 --answer-tokens 4 -o "$WORK/dialogue"
  expect_same "$(cut -d, -f1,2,5 "$WORK/dialogue/streameval-queries.csv" | tail -n +2 | tr '\n' ' ')" "9,8,1 19,7,0 29,28,1 "
  [[ $(tail -1 "$WORK/dialogue/streameval-queries.csv" | cut -d, -f3) -gt 500 ]] || fail "turns take no tokens"
fi
echo '{"question": "Which?", "choices": ["this", "that"], "answer": 0}' >"$WORK/questions.jsonl"
expect_exit 0 "$RUNNEL" streameval "$MODEL" --questions "$WORK/questions.jsonl"
expect_text "$WORK/out" "of 1 right"
for answer in '""' '" \n"' '"..."'; do
  printf '\n{"question": "Which?", "answer": %s}\n' "$answer" >"$WORK/questions.jsonl"
  expect_exit 1 "$RUNNEL" streameval "$MODEL" --questions "$WORK/questions.jsonl"
  expect_text "$WORK/err" "questions.jsonl:2: want an answer"
done
{ printf '{"question": "Which?", "answer": '; head -c 99999 /dev/zero | tr '\0' '['
  head -c 99999 /dev/zero | tr '\0' ']'; echo '}'; } >"$WORK/questions.jsonl"
expect_exit 1 "$RUNNEL" streameval "$MODEL" --questions "$WORK/questions.jsonl"
expect_text "$WORK/err" "questions.jsonl:1: want JSON of at most"
echo 'no json' >"$WORK/questions.jsonl"
expect_exit 1 "$RUNNEL" streameval "$MODEL" --questions "$WORK/questions.jsonl"
expect_text "$WORK/err" "questions.jsonl:1"

# The page of the report needs nothing beside it.
expect_exit 0 "$RUNNEL" report "$MODEL" "$WORK/text" --limit 1200 --cache 32 -o "$WORK/report" --json
expect_same "$(jq -r '.sections[0].experiment' "$WORK/out")" perplexity
expect_same "$(jq -c '.sections[] | select(.experiment == "latency")' "$WORK/out")" \
  "$(jq -c . "$WORK/report/latency.json")"
expect_text "$WORK/report/report.html" "</html>"
! grep -q 'src="[^d]' "$WORK/report/report.html" || fail "the page needs other files"
