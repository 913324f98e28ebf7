#!/usr/bin/env bash
# Killed in the middle of saving, 100 times: the file is the old or the new one, whole.
source tests/cli/support.sh

state=$WORK/state
"$RUNNEL" generate "$MODEL" -p "It was a dark night" -n 1 --quiet --save "$state" >/dev/null
identity() { stat -c '%i %y' "$state"; }
seen=0
for i in $(seq 100); do
  before=$(identity)
  "$RUNNEL" generate "$MODEL" --resume "$state" --quiet --save "$state" --save-every 1 \
    >/dev/null 2>&1 &
  writer=$!
  for _ in $(seq 3000); do  # until it has saved once, however slow the machine
    [[ $(identity) == "$before" ]] || break
    sleep 0.01
  done
  sleep "0.0$((RANDOM % 40 + 10))"
  kill -KILL "$writer" 2>/dev/null || fail "run $i ended by itself"
  wait "$writer" 2>/dev/null || true
  position=$("$RUNNEL" generate "$MODEL" --resume "$state" -n 0 --json | jq .summary.position) ||
    fail "run $i: the saved stream does not resume"
  [[ $position -gt $seen ]] || fail "run $i: position $position after $seen"
  seen=$position
done
