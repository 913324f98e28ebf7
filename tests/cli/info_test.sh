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

# What a file says reaches no terminal as a command: in tables, in messages.
escape=$(printf '\033')
perl -pe 's/general\.name/gener\x1b[31mme/; s/llama\.block_count/llam\x1b[31mck_count/' "$MODEL" >"$WORK/esc.gguf"
expect_exit 0 "$RUNNEL" info "$WORK/esc.gguf"
! grep -q "$escape" "$WORK/out" "$WORK/err" || fail "an escape sequence in the table"
perl -0777 -pe 's/(general\.architecture\x08\0{3}\x05\0{7})llama/$1\x1b]0;\x07/' "$MODEL" >"$WORK/arch.gguf"
expect_exit 1 "$RUNNEL" generate "$WORK/arch.gguf" -p a -n 1
expect_text "$WORK/err" "architecture"
! grep -q "$escape" "$WORK/err" || fail "an escape sequence in a message"
perl -0777 -pe 's/blk\.0\.ffn_up/blk.0\x1b[31;7m/' "$MODEL" >"$WORK/name.gguf"
expect_exit 1 "$RUNNEL" generate "$WORK/name.gguf" -p a -n 1
! grep -q "$escape" "$WORK/err" || fail "an escape sequence of a tensor's name in a message"
for flag in "" --tensors; do
  expect_exit 0 "$RUNNEL" info "$WORK/name.gguf" $flag
  ! grep -q "$escape" "$WORK/out" || fail "an escape sequence of a tensor's name in a table"
done
# C1 controls too; U+009B is as good as ESC [ to some terminals.
perl -0777 -pe 's/general\.name/gener\xc2\x9b31mme/' "$MODEL" >"$WORK/c1.gguf"
expect_exit 0 "$RUNNEL" info "$WORK/c1.gguf"
! LC_ALL=C grep -q $'\xc2\x9b' "$WORK/out" || fail "a C1 control in the table"

# A type that cannot run hides nothing else.
perl -0777 -pe 's/(blk\.0\.ffn_up\.weight\x02\0\0\0.{16})\x08\0\0\0/$1\xe7\x03\0\0/s' "$MODEL" >"$WORK/type.gguf"
expect_exit 0 "$RUNNEL" info "$WORK/type.gguf" --tensors
expect_text "$WORK/out" "unknown (999) .*not supported"
expect_text "$WORK/out" "^  blk.0.ffn_up.weight .*unknown"
expect_text "$WORK/out" "Memory: not known: .*blk.0.ffn_up.weight: type unknown (999) is not supported"
expect_exit 0 "$RUNNEL" info "$WORK/type.gguf" --json
expect_same "$(jq -r '.unreadable_tensors[0].name' "$WORK/out")" blk.0.ffn_up.weight
expect_same "$(printf hi | "$RUNNEL" tokenize "$WORK/type.gguf")" "$(printf hi | "$RUNNEL" tokenize "$MODEL")"
expect_exit 1 "$RUNNEL" generate "$WORK/type.gguf" -p a -n 1
expect_text "$WORK/err" "type unknown (999) is not supported"

# Little memory is said to be just that.
for kilobytes in 20000 26000 30000; do
  (ulimit -v $kilobytes && exec "$RUNNEL" generate "$MODEL" -p a -n 1) >"$WORK/out" 2>"$WORK/err" && continue
  ! grep -q "std::" "$WORK/err" || fail "a word of the library instead of a message: $(cat "$WORK/err")"
done
