#!/usr/bin/env bash
# chat: a line a turn from a pipe, the system prompt pinned, forgetting told, saved and resumed.
source tests/cli/support.sh
export XDG_STATE_HOME=$WORK/state

chat() { "$RUNNEL" chat "$MODEL" --commands "$@"; }

# The bundled model has no template of its own: the error lists the names.
expect_exit 1 chat
expect_text "$WORK/err" "chat-template.*chatml"
expect_exit 1 chat --chat-template no-such-template
expect_text "$WORK/err" "chatml"

printf 'Hello there.\n\nHow are you?\n/stats\n' |
  chat --chat-template zephyr -n 8 --system "You are kind." >"$WORK/out" 2>"$WORK/err"
[[ $(wc -l <"$WORK/out") -ge 2 ]] || fail "want an answer for each turn"
expect_text "$WORK/err" "position [0-9]* .*evicted 0"
pinned=$(grep -o 'pinned [0-9]*' "$WORK/err" | cut -d' ' -f2)
[[ $pinned -gt 8 ]] || fail "the system prompt is not pinned: $pinned sinks"

# Past the window: said once, the system prompt stays.
for _ in $(seq 12); do echo "Tell me about the long winter in the old house."; done >"$WORK/turns"
chat --chat-template zephyr -n 40 --system "You are kind." --save "$WORK/talk" \
  <"$WORK/turns" >"$WORK/out" 2>"$WORK/err"
expect_same "$(grep -c 'oldest turns are being forgotten.*the system prompt is kept' "$WORK/err")" 1
chat --chat-template zephyr -n 40 --window 40 <"$WORK/turns" 2>&1 >/dev/null |
  grep 'being forgotten' | (! grep 'system prompt') || fail "a system prompt that is not there"

# Resumed, the dialogue goes on as one that was never left.
chat --chat-template zephyr -n 40 --resume "$WORK/talk" <<<"And then?" >"$WORK/resumed" 2>/dev/null
{ cat "$WORK/turns"; echo "And then?"; } |
  chat --chat-template zephyr -n 40 --system "You are kind." >"$WORK/whole" 2>/dev/null
cat "$WORK/out" "$WORK/resumed" | cmp - "$WORK/whole" || fail "a resumed dialogue went another way"

# /system, /reset, /save and /quit.
printf 'Hi.\n/system Be brief.\nHi.\n/save %s\n/reset\n/stats\n/quit\nnever said\n' "$WORK/saved" |
  chat --chat-template chatml -n 5 >"$WORK/out" 2>"$WORK/err"
[[ -s $WORK/saved ]] || fail "/save wrote nothing"
expect_same "$(grep -c 'A new dialogue' "$WORK/err")" 2

# A command that fails says so, and the dialogue goes on as if it had not been given.
printf 'Hi.\nAnd you?\n/stats\n' | chat --chat-template chatml -n 5 >"$WORK/whole" 2>"$WORK/stats"
{
  printf 'Hi.\n/save %s/no/such/file\n/system ' "$WORK"
  for _ in $(seq 300); do printf 'You are very kind. '; done
  printf '\nAnd you?\n/stats\n'
} | chat --chat-template chatml -n 5 --save "$WORK/end" >"$WORK/out" 2>"$WORK/err"
cmp "$WORK/out" "$WORK/whole" || fail "a failed command changed the dialogue"
expect_text "$WORK/err" "^runnel: $WORK/no/such/file: "
expect_text "$WORK/err" "^runnel: .* leave no window"
expect_same "$(grep ^pinned "$WORK/err")" "$(grep ^pinned "$WORK/stats")"
[[ -s $WORK/end ]] || fail "--save wrote nothing after a failed command"

# Saved before its first turn, with and without a system prompt: resumed as if never left.
for template in llama2 mistral deepseek; do
  for system in "" "You are kind."; do
    turn() { chat --chat-template "$template" -n 4 --temperature 0 "$@" 2>"$WORK/err"; }
    turn --system "$system" --save "$WORK/empty" </dev/null
    printf 'Hello.\n/stats\n' >"$WORK/turns"
    turn --system "$system" <"$WORK/turns" >"$WORK/whole"
    cp "$WORK/err" "$WORK/stats"
    turn --resume "$WORK/empty" <"$WORK/turns" | cmp - "$WORK/whole" ||
      fail "$template: a resumed first turn went another way"
    expect_same "$(grep -o 'position [0-9]*' "$WORK/err")" "$(grep -o 'position [0-9]*' "$WORK/stats")"
  done
done

# After a resume, /reset and /system begin anew with the saved prompt and options.
settings=(--system "You are kind." --kv-type q8_0)
for command in /reset "/system Be brief. Say little, and be honest."; do
  for window in "" "--window 50"; do
    chat --chat-template zephyr -n 5 "${settings[@]}" $window --save "$WORK/talk" <<<"Hi." >/dev/null 2>&1
    printf '%s\nHow are you?\n/stats\n' "$command" >"$WORK/turns"
    chat --chat-template zephyr -n 5 "${settings[@]}" $window <"$WORK/turns" >"$WORK/whole" 2>"$WORK/stats"
    chat --chat-template zephyr -n 5 --resume "$WORK/talk" <"$WORK/turns" >"$WORK/out" 2>"$WORK/err"
    cmp "$WORK/out" "$WORK/whole" || fail "$command after --resume: another dialogue"
    expect_same "$(sed 's/ · memory.*//' "$WORK/err")" "$(sed 's/ · memory.*//' "$WORK/stats")"
  done
done

# Without a terminal a line is a turn, whatever it begins with: the text may be anybody's.
plain() { "$RUNNEL" chat "$MODEL" --chat-template zephyr -n 3 --temperature 0 "$@"; }
position_of() { "$RUNNEL" generate "$MODEL" --resume "$1" -n 0 --json | jq .summary.position; }
echo precious >"$WORK/victim"
printf 'Hi.\n/save %s\n/quit\n' "$WORK/victim" >"$WORK/turns"
plain --save "$WORK/three" <"$WORK/turns" >/dev/null 2>&1
{ cat "$WORK/turns"; echo "/etc/hosts: permission denied. Why?"; } | plain --save "$WORK/four" >/dev/null 2>&1
expect_same "$(cat "$WORK/victim")" precious
[[ $(position_of "$WORK/four") -gt $(($(position_of "$WORK/three") + 10)) ]] || fail "a line with / was not sent"

# A command that is none is named, and not sent.
printf '/usr/bin/x fails\n/stats\n' | chat --chat-template zephyr -n 3 2>"$WORK/err" >"$WORK/out"
expect_text "$WORK/err" "^runnel: /usr/bin/x: no such command.*after a space"
[[ ! -s $WORK/out ]] || fail "an unknown command was sent"
printf ' /usr/bin/x fails\n' | chat --chat-template zephyr -n 3 2>/dev/null | grep -q . || fail "nothing was sent"

# Several lines are one turn: between two fences, or with --one-turn.
printf '"""\nOne.\n/two\n\nThree.\n"""\n' | chat --chat-template zephyr -n 3 --temperature 0 --save "$WORK/fenced" >"$WORK/out" 2>/dev/null
printf 'One.\n/two\n\nThree.\n' | plain --one-turn --save "$WORK/one" 2>/dev/null | cmp - "$WORK/out" ||
  fail "--one-turn and a fenced message differ"
expect_same "$(position_of "$WORK/one")" "$(position_of "$WORK/fenced")"
printf 'One.\n/two\n\nThree.\n' | plain --save "$WORK/lines" >/dev/null 2>&1
[[ $(position_of "$WORK/lines") -gt $(position_of "$WORK/one") ]] || fail "a line is not a turn of its own"
expect_exit 2 plain --one-turn --commands
