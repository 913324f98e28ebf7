#!/usr/bin/env bash
# generate: counts, JSON, standard input, signals, closed pipes, and a resumed stream that never noticed.
source tests/cli/support.sh

generate() { "$RUNNEL" generate "$MODEL" "$@"; }

expect_exit 0 generate -p "It was a dark night" -n 40
[[ -s $WORK/out ]] || fail "no text"
expect_text "$WORK/err" "wrote 40 tokens"
cp "$WORK/out" "$WORK/first"
expect_exit 0 generate -p "It was a dark night" -n 40 --quiet
[[ ! -s $WORK/err ]] || fail "--quiet is not"
cmp "$WORK/out" "$WORK/first" || fail "the same seed gave another text"
expect_exit 0 generate -p "It was a dark night" -n 40 --threads 1
cmp "$WORK/out" "$WORK/first" || fail "another number of threads gave another text"
expect_exit 0 generate -p "It was a dark night" -n 40 --seed 7
! cmp -s "$WORK/out" "$WORK/first" || fail "another seed gave the same text"

# The prompt from a file, from standard input, from the command line: the same.
printf 'It was a dark night' >"$WORK/prompt"
generate -f "$WORK/prompt" -n 40 --quiet | cmp - "$WORK/first"
generate "$WORK/prompt" -n 40 --quiet | cmp - "$WORK/first"
generate - -n 40 --quiet <"$WORK/prompt" | cmp - "$WORK/first"
generate -p "It was" --echo -n 0 --quiet | grep -qx "It was"

# JSON: a line for each token, then a summary; the texts together are the text.
expect_exit 0 generate -p "It was a dark night" -n 40 --json
expect_same "$(wc -l <"$WORK/out")" 41
expect_same "$(head -40 "$WORK/out" | jq -s 'map(has("id") and has("text") and .logprob <= 0) | all')" true
expect_same "$(head -40 "$WORK/out" | jq -s '[.[1:], .[:-1]] | transpose | map(.[0].position - .[1].position == 1) | all')" true
head -40 "$WORK/out" | jq -j .text | cmp - "$WORK/first"
expect_same "$(tail -1 "$WORK/out" | jq -c '[.summary.generated, .summary.stopped_by, .summary.policy]')" '[40,"count","sink"]'

# Far past the window, stopped and resumed: the text of one that never stopped, byte by byte.
generate -f LICENSE -n 700 --quiet >"$WORK/whole"
generate -f LICENSE -n 300 --quiet --save "$WORK/state" >"$WORK/parts"
generate --resume "$WORK/state" -n 1 --quiet --save "$WORK/state" >>"$WORK/parts"
generate --resume "$WORK/state" -n 399 --quiet --threads 1 >>"$WORK/parts"
cmp "$WORK/whole" "$WORK/parts" || fail "a resumed stream went another way"
expect_exit 0 generate --resume "$WORK/state" -n 5 --json
[[ $(tail -1 "$WORK/out" | jq .summary.evicted) -gt 0 ]] || fail "nothing was evicted"

# Pinned text is the sinks.
expect_exit 0 generate --pin "Call me Ishmael, a sailor of the sea." -p " I said" -n 5 --json
[[ $(tail -1 "$WORK/out" | jq .summary.sinks) -gt 8 ]] || fail "the pin is not in the sinks"

# An endless input is read as it comes; a signal ends it, and the state is saved.
mkfifo "$WORK/pipe"
"$RUNNEL" generate "$MODEL" - -n 0 --save "$WORK/log" <"$WORK/pipe" 2>"$WORK/err" &
reader=$!
exec 9>"$WORK/pipe"
for i in $(seq 2000); do echo "line $i of the log: all is well"; done >&9
sleep 1
kill -INT "$reader"
wait "$reader" || fail "Ctrl-C while reading: exit code $?"
exec 9>&-
expect_text "$WORK/err" "read [0-9,]* tokens"
expect_exit 0 generate --resume "$WORK/log" -n 3

# Ctrl-C and SIGTERM end an endless stream with a summary and exit code 0.
for signal in INT TERM; do
  rm -f "$WORK/endless"
  "$RUNNEL" generate "$MODEL" -p "It was" \
    >"$WORK/endless" 2>"$WORK/err" &
  writer=$!
  until [[ -s $WORK/endless ]]; do sleep 0.05; done
  kill -$signal "$writer"
  wait "$writer" || fail "SIG$signal: exit code $?"
  expect_text "$WORK/err" "wrote [0-9,]* tokens"
done

# A reader that goes ends the stream without a word.
set +o pipefail
generate -p "It was" 2>"$WORK/err" | head -c 100 >"$WORK/out"
expect_same "${PIPESTATUS[0]}" 0
set -o pipefail
expect_same "$(wc -c <"$WORK/out")" 100
[[ ! -s $WORK/err ]] || fail "a closed pipe was mentioned: $(cat "$WORK/err")"

# A count that a signal cut short shows in the exit code; the state is saved all the same.
rm -f "$WORK/endless"
"$RUNNEL" generate "$MODEL" -p "It was" -n 100000000 --save "$WORK/short" >"$WORK/endless" 2>"$WORK/err" &
writer=$!
until [[ -s $WORK/endless ]]; do sleep 0.05; done
kill -TERM "$writer"
found=0
wait "$writer" || found=$?
expect_same "$found" 143
expect_text "$WORK/err" "of 100,000,000 tokens were written"
expect_exit 0 generate --resume "$WORK/short" -n 3

# An output that fails ends the run, not what it has made; a failed save on the way ends nothing.
found=0
"$RUNNEL" generate "$MODEL" -p Once -n 50 --save "$WORK/full" >/dev/full 2>"$WORK/err" || found=$?
expect_same "$found" 1
expect_text "$WORK/err" "saved to $WORK/full"
expect_exit 0 generate --resume "$WORK/full" -n 3
mkdir "$WORK/gone"
(ulimit -f 16 && exec "$RUNNEL" generate "$MODEL" -p Once -n 30 --quiet --save "$WORK/gone/s" --save-every 10) \
  >"$WORK/out" 2>"$WORK/err" && fail "a state that was not saved, and exit code 0"
expect_text "$WORK/err" "trying again 10 tokens on"
expect_same "$(ls "$WORK/gone" | wc -l)" 0
# Temporary files of killed writers go with the next save, others' stay.
touch -d '5 minutes ago' "$WORK/gone/s.123-0.tmp" "$WORK/gone/s.mine.tmp" "$WORK/gone/t.123-0.tmp"
expect_exit 0 generate -p Once -n 1 --quiet --save "$WORK/gone/s"
expect_same "$(ls "$WORK/gone" | tr '\n' ' ')" "s s.mine.tmp t.123-0.tmp "

# Control tokens in a prompt are text, unless asked for.
expect_same "$(generate -p "<s>a" -n 0 --json | jq .summary.position)" \
  "$("$RUNNEL" tokenize "$MODEL" <<<"" >/dev/null; printf '<s>a' | "$RUNNEL" tokenize "$MODEL" | wc -w)"
expect_same "$(generate --special -p "<s>a" -n 0 --json | jq .summary.position)" \
  "$(printf '<s>a' | "$RUNNEL" tokenize "$MODEL" --special | wc -w)"

# Two prompts: said what each is.
printf x >"$WORK/text"
expect_exit 2 generate -p a "$WORK/text"
expect_text "$WORK/err" "-p gives the text itself, and .* is a file"

# The summary begins a line of its own when both go to one place.
generate -p "It was" -n 5 2>&1 | tail -n 1 | grep -q '^read ' || fail "the summary stands behind the text"

# Half a character at the end is in the JSON as it is in the text.
for seed in $(seq 30); do
  generate -p "é" -n 1 --temperature 30 --top-k 0 --top-p 1 --min-p 0 --seed "$seed" --quiet >"$WORK/out"
  iconv -f utf8 -t utf8 "$WORK/out" >/dev/null 2>&1 && continue
  generate -p "é" -n 1 --temperature 30 --top-k 0 --top-p 1 --min-p 0 --seed "$seed" --json >"$WORK/json"
  rest=$(tail -1 "$WORK/json" | jq -r '.summary.rest_of_text // ""')
  text=$(head -1 "$WORK/json" | jq -r .text)
  [[ -n $rest || $text == *$'\ufffd'* ]] || fail "seed $seed: bytes that JSON does not have"
done

# An output that does not block takes all of it.
head -c 300000 /dev/zero | tr '\0' a >"$WORK/letters"
"$RUNNEL" tokenize "$MODEL" "$WORK/letters" >"$WORK/ids"
cat >"$WORK/nonblocking.pl" <<'P'
use Fcntl; use POSIX;
pipe(my $r, my $w); fcntl($w, F_SETFL, fcntl($w, F_GETFL, 0) | O_NONBLOCK);
my $child = fork();
if ($child == 0) { close $r; dup2(fileno($w), 1); exec @ARGV; }
close $w; sleep 1; my $n = 0;
while (sysread($r, my $block, 65536)) { $n += length $block; }
waitpid($child, 0); print "$n $?\n";
P
expect_same "$(perl "$WORK/nonblocking.pl" "$RUNNEL" tokenize "$MODEL" "$WORK/letters")" "$(wc -c <"$WORK/ids") 0"
