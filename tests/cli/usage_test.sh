#!/usr/bin/env bash
# Help, version and exit codes of the whole program.
source tests/cli/support.sh

expect_exit 0 "$RUNNEL" --help
for command in generate chat tokenize detokenize info ppl bench; do
  expect_text "$WORK/out" "^  $command "
done
for command in generate chat tokenize detokenize info ppl bench; do
  expect_exit 0 "$RUNNEL" "$command" --help
  expect_text "$WORK/out" "^Examples:"
  expect_text "$WORK/out" "MODEL"
  [[ $(wc -L <"$WORK/out") -le 104 ]] || fail "$command --help is wider than a page"
done
expect_exit 0 "$RUNNEL" --version
expect_text "$WORK/out" '^runnel [0-9]*\.[0-9]*\.[0-9]*$'

for flag in --help --version; do  # the output is full
  "$RUNNEL" $flag >/dev/full 2>"$WORK/err" && fail "$flag: exit code 0 on a full disk"
  expect_text "$WORK/err" "standard output"
done

# Wrong usage: 2, with a line that says what, and where help is.
expect_exit 2 "$RUNNEL"
expect_exit 2 "$RUNNEL" no-such-command
expect_exit 2 "$RUNNEL" generate
expect_exit 2 "$RUNNEL" generate "$MODEL" --no-such-option
expect_text "$WORK/err" "runnel generate --help"
expect_exit 2 "$RUNNEL" generate "$MODEL" --policy forgetful
expect_exit 2 "$RUNNEL" generate "$MODEL" --sinks -1
expect_exit 2 "$RUNNEL" generate "$MODEL" --window 0
expect_exit 2 "$RUNNEL" generate "$MODEL" --temperature hot
expect_text "$WORK/err" "temperature"
while read -r option values; do
  for value in $values; do
    expect_exit 2 "$RUNNEL" generate "$MODEL" -n 1 "$option" "$value"
    expect_text "$WORK/err" "^runnel: $option: want a .*, got $value"
  done
done <<'END'
--temperature 101 -1 nan inf 1e-50
--top-p 0 1.1 nan
--min-p -0.1 2
--repetition-penalty 0 1e9 nan
--frequency-penalty 1000 nan -101
--presence-penalty 1000 nan
--sinks 16777217 1073741824
--window 16777217 10000000000 5, x5 5x0 5x1025 5;6
--chunk 0 8193 1048576
END
expect_exit 0 "$RUNNEL" generate "$MODEL" -n 1 --temperature 100 --top-p 1 --frequency-penalty -100 --chunk 8192
for list in a,b 1,,2 0,1 5,; do
  expect_exit 2 "$RUNNEL" latency "$MODEL" LICENSE --windows "$list"
  expect_text "$WORK/err" "windows: want a whole number from 1 to 16777216, got"
done
for list in a,b -1 1,,2 4294967297; do
  expect_exit 2 "$RUNNEL" streameval "$MODEL" --distance "$list"
  expect_text "$WORK/err" "distance: want a whole number from 0 to 16777216, got"
done
for seed in -1 99999999999999999999 1.5; do
  expect_exit 2 "$RUNNEL" generate "$MODEL" --seed "$seed"
  expect_text "$WORK/err" "seed: want a whole number from 0 to 18446744073709551615, got $seed"
done
expect_exit 0 "$RUNNEL" generate "$MODEL" -n 1 --seed 18446744073709551615
expect_exit 2 "$RUNNEL" streameval "$MODEL" --seed -1
expect_exit 2 "$RUNNEL" make-model --arch llama "$WORK/none.gguf" --seed -1
expect_exit 2 "$RUNNEL" generate "$MODEL" -n many
expect_exit 2 "$RUNNEL" generate "$MODEL" -p a -f b
expect_exit 2 "$RUNNEL" generate "$MODEL" "Once upon a time"
expect_text "$WORK/err" "goes after -p"
expect_exit 2 "$RUNNEL" generate "$MODEL" --save-every 10
expect_exit 2 "$RUNNEL" generate "$MODEL" --resume "$WORK/s" --window 60
expect_exit 2 "$RUNNEL" ppl "$MODEL"

# Words of other programs: what is clear is done, for the rest the right word is named.
"$RUNNEL" generate -m "$MODEL" -t 1 --temp 0 --repeat-penalty 1.1 -p Once -n 3 --quiet >"$WORK/theirs"
"$RUNNEL" generate "$MODEL" --threads 1 --temperature 0 --repetition-penalty 1.1 -p Once -n 3 --quiet >"$WORK/ours"
cmp "$WORK/theirs" "$WORK/ours"
"$RUNNEL" generate -m "$MODEL" -ngl 0 -c 64 --temp 0 -p Once -n 3 --json >"$WORK/theirs"
expect_text "$WORK/theirs" '"window":60'
"$RUNNEL" generate "$MODEL" --policy window --ctx-size 64 -n 3 --json >"$WORK/theirs"
expect_text "$WORK/theirs" '"window":64'
"$RUNNEL" generate "$MODEL" -n 3 --quiet -p -ngl >"$WORK/theirs"  # a text may look like anything
expect_exit 2 "$RUNNEL" generate "$MODEL" -n 1 -c 4
expect_text "$WORK/err" "ctx-size: want more than the 4 sinks, got 4"
expect_exit 2 "$RUNNEL" generate "$MODEL" -n 1 -c 64 --window 60
while read -r option meaning; do
  expect_exit 2 "$RUNNEL" generate "$MODEL" $option 99
  expect_text "$WORK/err" "$meaning"
  [[ ! -s $WORK/out ]] || fail "$option: text on standard output"
done <<'END'
-ngl --gpu-layers: want a device for them: did you mean --device gpu
--n-gpu-layers --gpu-layers: want a device for them: did you mean --device gpu
--ngl --ngl: did you mean -ngl N
--context --context: did you mean --window N
--mirostat --mirostat: not here
--n-predict did you mean -n N
--temprature did you mean --temperature
--top_k did you mean --top-k
-cnv runnel chat
-fa leave it out
--keep did you mean --sinks N
END

expect_exit 2 "$RUNNEL" ppl "$MODEL" -n 5
expect_text "$WORK/err" "did you mean --limit N"

while read -r command meaning; do
  expect_exit 2 "$RUNNEL" "$command"
  expect_text "$WORK/err" "^runnel: $command: no such command; did you mean 'runnel $meaning'?"
done <<'END'
genrate generate
chatt chat
server serve
perplexity ppl
ls pull --list
END
expect_exit 2 "$RUNNEL" xyz
expect_text "$WORK/err" "^runnel: xyz: no such command$"
expect_exit 2 "$RUNNEL" -m "$MODEL" -p Once
expect_text "$WORK/err" "^runnel: want a command first"
expect_exit 1 "$RUNNEL" generate smollm -n 1
expect_text "$WORK/err" "^runnel: smollm: no such file, nor a name of 'runnel pull --list' (smollm2, "

# Failure: 1, with the thing named, and nothing on standard output.
for command in generate chat tokenize detokenize info bench; do
  expect_exit 1 "$RUNNEL" "$command" "$WORK/absent.gguf"
  expect_text "$WORK/err" "^runnel: .*absent.gguf"
  [[ ! -s $WORK/out ]] || fail "$command wrote to standard output"
done
head -c 5000 "$MODEL" >"$WORK/cut.gguf"
expect_exit 1 "$RUNNEL" generate "$WORK/cut.gguf" -n 1
expect_text "$WORK/err" "cut.gguf"
expect_exit 1 "$RUNNEL" generate "$MODEL" -n 1 -f "$WORK/absent.txt"
expect_text "$WORK/err" "absent.txt"
expect_exit 1 "$RUNNEL" generate "$MODEL" -n 1 --resume "$MODEL"
expect_exit 1 "$RUNNEL" generate "$MODEL" -n 1 -p a --save "$WORK/no/such/folder"
expect_text "$WORK/err" "folder"

# Names of files reach messages too: none of them drives the terminal.
evil=$(printf 'a\033]0;title\007.gguf')
cp "$MODEL" "$WORK/$evil"
for arguments in "generate $MODEL $evil" "generate $MODEL --policy $evil" "pull $evil" "make-model --shape $evil $WORK/x" \
  "info $WORK/$evil" "generate $evil"; do
  # shellcheck disable=SC2086
  "$RUNNEL" $arguments >"$WORK/both" 2>&1 </dev/null || true
  ! grep -q "$(printf '\033')" "$WORK/both" || fail "an escape sequence in what '$arguments' says"
  expect_text "$WORK/both" "title"
done
