#!/usr/bin/env bash
# Signals end chat and generate in order, with the state saved; Ctrl-C in an answer stops the answer.
source tests/cli/support.sh
export XDG_STATE_HOME=$WORK/state

position() { "$RUNNEL" generate "$MODEL" --resume "$1" -n 0 --json | jq .summary.position; }

until_text() {  # until_text FILE: it holds something
  for _ in $(seq 1200); do
    [[ ! -s $1 ]] || return 0
    sleep 0.05
  done
  fail "nothing came to $1"
}

for signal in TERM HUP; do
  rm -f "$WORK/saved" "$WORK/out"
  "$RUNNEL" generate "$MODEL" -p "It was" --save "$WORK/saved" >"$WORK/out" 2>/dev/null &
  until_text "$WORK/out"
  kill -$signal $!
  wait $! || fail "generate, SIG$signal: exit code $?"
  [[ $(position "$WORK/saved") -gt 3 ]] || fail "generate, SIG$signal: the state was not saved"
done

# A chat with its input open: it says the lines, gets the signals, and has to end by itself.
mkfifo "$WORK/lines"
start_chat() {  # start_chat ARGUMENTS...
  rm -f "$WORK/saved" "$WORK/out"
  "$RUNNEL" chat "$MODEL" --commands --chat-template zephyr --save "$WORK/saved" "$@" \
    <"$WORK/lines" >"$WORK/out" 2>"$WORK/err" &
  chat=$!
  exec 9>"$WORK/lines"
}
end_chat() {
  wait "$chat" || fail "chat, $1: exit code $?"
  exec 9>&-
  [[ -s $WORK/saved ]] || fail "chat, $1: the state was not saved"
}

for signal in INT TERM HUP; do  # idle
  start_chat -n 4
  echo "Hello." >&9
  until_text "$WORK/out"
  until [[ $(wc -l <"$WORK/out") -gt 0 ]]; do sleep 0.05; done  # the answer is over
  sleep 0.3
  kill -$signal "$chat"
  end_chat "idle, SIG$signal"
  [[ $(position "$WORK/saved") -gt 10 ]] || fail "chat, idle, SIG$signal: the turn was not saved"
done

for signal in TERM HUP; do  # in an answer, with another line waiting
  start_chat
  printf 'Hello.\n/save %s\n' "$WORK/never" >&9
  until_text "$WORK/out"
  kill -$signal "$chat"
  end_chat "in an answer, SIG$signal"
  [[ ! -e $WORK/never ]] || fail "chat, SIG$signal: the next line was obeyed"
done

start_chat
printf 'Hello.\n/save %s\n' "$WORK/next" >&9
until_text "$WORK/out"
kill -INT "$chat"
until_text "$WORK/next"
exec 9>&-
end_chat "Ctrl-C in an answer"

# Recomputations that would take a day.
"$RUNNEL" latency "$MODEL" LICENSE --limit 600 --windows 512 --recomputed-tokens 1000000 >/dev/null 2>"$WORK/err" &
sleep 2
kill -TERM $!
started=$SECONDS
found=0
wait $! || found=$?
[[ $found -eq 143 ]] || fail "latency: exit code $found"
[[ $((SECONDS - started)) -le 10 ]] || fail "latency went on for $((SECONDS - started)) s"
expect_text "$WORK/err" "stopped"
