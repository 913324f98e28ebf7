#!/usr/bin/env bash
# make-model: models of random weights that run; and the list of architectures.
source tests/cli/support.sh

expect_exit 0 "$RUNNEL" info --list-architectures
expect_text "$WORK/out" "^gpt-oss .*gpt-oss 20B"
while read -r architecture _; do
  expect_exit 0 "$RUNNEL" make-model --arch "$architecture" --shape tiny --type q4_k_m "$WORK/tiny.gguf"
  expect_exit 0 "$RUNNEL" generate "$WORK/tiny.gguf" -p "Once upon a time" -n 20 --sinks 2 --window 6 --quiet
  [[ -s $WORK/out ]] || fail "$architecture: no text"
done < <("$RUNNEL" info --list-architectures)

expect_exit 0 "$RUNNEL" make-model --arch mpt "$WORK/again.gguf" --seed 5
expect_exit 0 "$RUNNEL" make-model --arch mpt "$WORK/same.gguf" --seed 5
cmp "$WORK/again.gguf" "$WORK/same.gguf"

expect_exit 0 "$RUNNEL" make-model "$WORK/default.gguf"
expect_exit 0 "$RUNNEL" make-model --arch llama "$WORK/llama.gguf"
cmp "$WORK/default.gguf" "$WORK/llama.gguf"
expect_exit 0 "$RUNNEL" make-model --shape llama-2-7b --help
expect_text "$WORK/out" "default llama"
expect_exit 2 "$RUNNEL" make-model --shape gpt-9 "$WORK/none.gguf"
expect_exit 2 "$RUNNEL" make-model --arch llama --type q9 "$WORK/none.gguf"
expect_exit 1 "$RUNNEL" make-model --arch llama "$WORK/no/such/folder.gguf"
mkfifo "$WORK/pipe" # or a device: it would be replaced by the file
expect_exit 1 "$RUNNEL" make-model --arch llama "$WORK/pipe"
expect_text "$WORK/err" "want a regular file"
[[ -p $WORK/pipe ]] || fail "the pipe is gone"
