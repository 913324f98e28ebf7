#!/usr/bin/env bash
# ppl: one value for each predicted token, the same in any chunks and equal to the reference.
source tests/cli/support.sh

ppl() { "$RUNNEL" ppl "$MODEL" "$@"; }

for _ in 1 2 3; do cat models/README.md; done >"$WORK/text"
"$RUNNEL" tokenize "$MODEL" "$WORK/text" | tr ' ' ',' | sed 's/.*/{"tokens":[&]}/' >"$WORK/ids.json"
n=$(jq '.tokens | length' "$WORK/ids.json")

expect_exit 0 ppl "$WORK/text" --window 60 --nll "$WORK/a.json" --json
expect_same "$(jq length "$WORK/a.json")" $((n - 1))
expect_same "$(jq .predicted_tokens "$WORK/out")" $((n - 1))
expect_same "$(jq --slurpfile v "$WORK/a.json" '($v[0] | add / length) as $m | (.mean_nll - $m) | fabs < 1e-6' "$WORK/out")" true
expect_exit 0 ppl --tokens "$WORK/ids.json" --window 60 --nll "$WORK/b.json" --chunk 7
expect_text "$WORK/out" "^perplexity "
cmp "$WORK/a.json" "$WORK/b.json" || fail "another chunk gives other values"
expect_exit 0 ppl "$WORK/text" --limit 50 --nll "$WORK/c.json"
expect_same "$(jq length "$WORK/c.json")" 49

for study in "--policy sink,window" "-o $WORK/study" "$WORK/text"; do
  # shellcheck disable=SC2086
  expect_exit 2 ppl "$WORK/text" $study --nll "$WORK/d.json"
  expect_text "$WORK/err" "nll: want one policy, one text and no -o"
done
[[ ! -e $WORK/d.json ]] || fail "refused, and wrote a file"

echo '[1, 403, "x"]' >"$WORK/bad.json"
expect_exit 1 ppl --tokens "$WORK/bad.json"
expect_text "$WORK/err" "bad.json: entry 2"
echo '[1' >"$WORK/bad.json"
expect_exit 1 ppl --tokens "$WORK/bad.json"
printf '' >"$WORK/empty"
expect_exit 1 ppl "$WORK/empty" --nll "$WORK/none.json"
[[ ! -e $WORK/none.json ]] || fail "a failed run left a file"

reference=../shared/golden/nll/novella-7m-sink-4-60.json
if [[ -e $reference && -e ../shared/models/novella-7m-f32.gguf ]]; then
  "$RUNNEL" ppl ../shared/models/novella-7m-f32.gguf --tokens $reference --sinks 4 --window 60 \
    --kv-type f32 --nll "$WORK/values.json" >/dev/null
  expect_same "$(jq -n --slurpfile a "$WORK/values.json" --slurpfile b $reference \
    '[$a[0], $b[0].nll] | transpose | map((.[0] - .[1]) | fabs < 1e-4) | all')" true
else
  echo "reference data not beside the checkout: not compared"
fi

# Lists that nest without end are named, not followed.
head -c 200000 /dev/zero | tr '\0' '[' >"$WORK/deep.json"
head -c 200000 /dev/zero | tr '\0' ']' >>"$WORK/deep.json"
expect_exit 1 "$RUNNEL" ppl "$MODEL" --tokens "$WORK/deep.json"
expect_text "$WORK/err" "entry 0: want a token id, found a list"
{ printf '{"tokens": '; cat "$WORK/deep.json"; printf '}'; } >"$WORK/deeper.json"
expect_exit 1 "$RUNNEL" ppl "$MODEL" --tokens "$WORK/deeper.json"
expect_text "$WORK/err" "entry 0: want a token id, found a list"

# Numbers that are none are no result.
perl -0777 -pe 's/(layer_norm_rms_epsilon\x06\0\0\0).{4}/$1\0\0\xc0\x7f/s' "$MODEL" >"$WORK/nan.gguf"
for arguments in "" --json "--nll $WORK/nll"; do
  expect_exit 1 "$RUNNEL" ppl "$WORK/nan.gguf" LICENSE --limit 50 $arguments
  expect_text "$WORK/err" "layer_norm_rms_epsilon: want a finite number, found nan"
  [[ ! -s $WORK/out ]] || fail "a result of numbers that are none"
done

# A stopped measurement shows what it has, and says so in its exit code.
"$RUNNEL" ppl "$MODEL" docs/experiments.md --policy recompute --window 200 >"$WORK/out" 2>"$WORK/err" &
sleep 2
kill -INT $! || true
found=0
wait $! || found=$?
[[ $found -eq 130 || $found -eq 143 ]] || fail "stopped: exit code $found"
expect_text "$WORK/err" "stopped"
