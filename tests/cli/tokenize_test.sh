#!/usr/bin/env bash
# tokenize and detokenize are each other's inverse, from files and from pipes.
source tests/cli/support.sh

printf 'It was a dark night.\nThe wind\t  howled; na\xc3\xafve \xff bytes.\n\n  End' >"$WORK/text"
"$RUNNEL" tokenize "$MODEL" "$WORK/text" >"$WORK/ids"
expect_same "$(wc -l <"$WORK/ids")" 1
expect_text "$WORK/ids" '^1 [0-9 ]*$'
"$RUNNEL" detokenize "$MODEL" <"$WORK/ids" | cmp - "$WORK/text"
"$RUNNEL" detokenize "$MODEL" -f "$WORK/ids" | cmp - "$WORK/text"
# shellcheck disable=SC2046
"$RUNNEL" detokenize "$MODEL" $(cat "$WORK/ids") | cmp - "$WORK/text"

expect_same "$("$RUNNEL" tokenize "$MODEL" <"$WORK/text")" "$(cat "$WORK/ids")"
expect_same "$("$RUNNEL" tokenize "$MODEL" - <"$WORK/text")" "$(cat "$WORK/ids")"
expect_same "1 $("$RUNNEL" tokenize "$MODEL" --no-bos "$WORK/text")" "$(cat "$WORK/ids")"
expect_same "$("$RUNNEL" tokenize "$MODEL" --pieces "$WORK/text" | cut -f1 | paste -sd' ')" "$(cat "$WORK/ids")"
expect_same "$(printf '</s>' | "$RUNNEL" tokenize "$MODEL" --special)" "1 2"
expect_same "$("$RUNNEL" detokenize "$MODEL" --special 2)" "</s>"
expect_same "$(printf '' | "$RUNNEL" tokenize "$MODEL")" "1"

# A text that arrives in many pieces gives the tokens of the whole.
for _ in $(seq 3000); do cat "$WORK/text"; done >"$WORK/long"
"$RUNNEL" tokenize "$MODEL" "$WORK/long" >"$WORK/long.ids"
expect_same "$( (while read -r -N 7001 part || [[ -n $part ]]; do printf '%s' "$part"; done) \
  < <(tr -d '\377' <"$WORK/long") | "$RUNNEL" tokenize "$MODEL" | cksum)" \
  "$(tr -d '\377' <"$WORK/long" | "$RUNNEL" tokenize "$MODEL" /dev/stdin | cksum)"
"$RUNNEL" detokenize "$MODEL" -f "$WORK/long.ids" | cmp - "$WORK/long"

# Vocabularies without the bytes that no valid UTF-8 has: a mark stands where one was.
for name in falcon mpt; do
  vocabulary=../shared/golden/tokenizers/ggml-vocab-$name.gguf
  [[ -e $vocabulary ]] || continue
  expect_same "$(printf 'a\377b \301\370c' | "$RUNNEL" tokenize "$vocabulary" | "$RUNNEL" detokenize "$vocabulary")" \
    "$(printf 'a\357\277\275b \357\277\275\357\277\275c')"
done

expect_exit 1 "$RUNNEL" detokenize "$MODEL" 4096
expect_text "$WORK/err" "4096.*0 to 4095"
expect_exit 1 "$RUNNEL" detokenize "$MODEL" 12 word
expect_text "$WORK/err" "word"

# Stopped in the middle of a text, it does not say that it is done.
mkfifo "$WORK/slow"
"$RUNNEL" tokenize "$MODEL" "$WORK/slow" >"$WORK/ids" 2>"$WORK/err" &
tokenizer=$!
exec 9>"$WORK/slow"
for i in $(seq 2000); do echo "line $i of the log: all is well"; done >&9
sleep 1
kill -TERM "$tokenizer"
found=0
wait "$tokenizer" || found=$?
exec 9>&-
expect_same "$found" 143
expect_text "$WORK/err" "the rest of the text was not read"
