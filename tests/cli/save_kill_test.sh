#!/usr/bin/env bash
# Killed in the middle of saving, 100 times: the file is the old or the new one, whole.
source tests/cli/support.sh

state=$WORK/state
"$RUNNEL" generate "$MODEL" -p "It was a dark night" -n 1 --quiet --save "$state" >/dev/null
seen=0
for i in $(seq 100); do
  "$RUNNEL" generate "$MODEL" --resume "$state" --quiet --save "$state" --save-every 1 \
    >/dev/null 2>&1 &
  writer=$!
  sleep "0.0$((RANDOM % 90 + 10))"
  kill -KILL "$writer" 2>/dev/null || fail "run $i ended by itself"
  wait "$writer" 2>/dev/null || true
  position=$("$RUNNEL" generate "$MODEL" --resume "$state" -n 0 --json | jq .summary.position) ||
    fail "run $i: the saved stream does not resume"
  [[ $position -ge $seen ]] || fail "run $i: position $position after $seen"
  seen=$position
done
[[ $seen -gt 100 ]] || fail "the runs were killed before they saved: position $seen"
