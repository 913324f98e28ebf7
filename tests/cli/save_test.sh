#!/usr/bin/env bash
# --save: what may stand at the path, what is left beside it, and failures that name the path given.
source tests/cli/support.sh

generate() { "$RUNNEL" generate "$MODEL" -p "It was" -n 1 --quiet "$@"; }
only() { expect_same "$(ls -A "$1" | xargs)" "$2"; }  # the names in a folder

# What is no regular file stays as it is, and nothing was written before that was noticed.
mkdir "$WORK/folder"
mkfifo "$WORK/pipe"
ln -s pipe "$WORK/to-pipe"
ln -s circle "$WORK/circle"
for name in folder pipe to-pipe circle no/such/folder; do
  for command in generate "chat --chat-template zephyr"; do
    expect_exit 1 "$RUNNEL" $command "$MODEL" -n 1 --save "$WORK/$name"
    expect_text "$WORK/err" "^runnel: $WORK/$name: "
    [[ ! -s $WORK/out ]] || fail "$name: text was written first"
  done
done
expect_exit 1 generate --save "$WORK/to-pipe"
expect_text "$WORK/err" "want a regular file or a new one to write, found a pipe"
[[ -p $WORK/pipe && -L $WORK/to-pipe && -L $WORK/circle ]] || fail "a pipe or a link was replaced"
only "$WORK/folder" ""

# A link stays, whether or not there is a file behind it yet.
mkdir "$WORK/links" "$WORK/behind"
ln -s ../behind/state "$WORK/links/one"
ln -s one "$WORK/links/two"
for _ in 1 2; do
  expect_exit 0 generate --save "$WORK/links/two"
  [[ -L $WORK/links/one && -L $WORK/links/two && -s $WORK/behind/state ]] || fail "links"
done
only "$WORK/links" "one two"
only "$WORK/behind" "state"

# Modes: the umask's for a new file, the old file's for a replaced one. Other files stay.
mkdir "$WORK/modes"
echo mine >"$WORK/modes/state.tmp"
(umask 027 && generate --save "$WORK/modes/state" >/dev/null)
expect_same "$(stat -c %a "$WORK/modes/state")" 640
chmod 604 "$WORK/modes/state"
expect_exit 0 generate --save "$WORK/modes/state"
expect_same "$(stat -c %a "$WORK/modes/state")" 604
expect_same "$(cat "$WORK/modes/state.tmp")" mine
only "$WORK/modes" "state state.tmp"

# A file that would grow too large: an error, and the old one.
before=$(cksum <"$WORK/modes/state")
(ulimit -f 16 && expect_exit 1 generate --save "$WORK/modes/state")
expect_text "$WORK/err" "^runnel: $WORK/modes/state: cannot write"
expect_same "$(cksum <"$WORK/modes/state")" "$before"
only "$WORK/modes" "state state.tmp"

# Output that fails costs nobody the dialogue.
if [[ -c /dev/full ]]; then
  printf 'Hello\nAnd you?\n' | "$RUNNEL" chat "$MODEL" --chat-template zephyr -n 3 --save "$WORK/modes/talk" >/dev/full 2>"$WORK/err" &&
    fail "a full disk is no failure"
  expect_text "$WORK/err" "cannot write"
  printf 'Go on.\n' | "$RUNNEL" chat "$MODEL" --chat-template zephyr -n 3 --resume "$WORK/modes/talk" >"$WORK/out" ||
    fail "the dialogue was not saved"
fi
