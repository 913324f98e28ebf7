#!/bin/sh
# make.sh FOLDER PROGRAM...: manual pages and completions for bash, zsh and fish, from what the program (with an
# emulator before it, where it needs one) says with --help. They stand in FOLDER as they are installed in share/.
set -eu
here=$(dirname "$0")
folder=$1
shift
export NO_COLOR=1 LC_ALL=C
help=$folder/help
rm -rf "$folder"
mkdir -p "$help" "$folder/man/man1" "$folder/bash-completion/completions" "$folder/zsh/site-functions" \
  "$folder/fish/vendor_completions.d"

"$@" --help >"$help/main"
version=$("$@" --version | awk '{ print $NF }')
commands=$(awk '/^Subcommands:/ { inside = 1; next } /^$/ { inside = 0 } inside && /^  [^ ]/ { print $1 }' "$help/main")
for command in $commands; do "$@" "$command" --help >"$help/$command"; done
models=$(awk '/^  NAME / { inside = 1 } /^Options:/ { inside = 0 } inside' "$help/pull" |
  tr '\n' ' ' | sed 's/.*The model: //; s/,/ /g; s/  */ /g; s/ $//')

page() { awk -v version="$version" -v date="${PAGES_DATE:-}" -f "$here/help.awk" -f "$here/man.awk" "command=$1" "$2"; }
page "" "$help/main" >"$folder/man/man1/runnel.1"
set -- command= "$help/main"
for command in $commands; do
  page "$command" "$help/$command" >"$folder/man/man1/runnel-$command.1"
  set -- "$@" "command=$command" "$help/$command"
done

completion() { # SHELL FILE ARGUMENT...
  shell=$1
  file=$2
  shift 2
  awk -v models_of_pull="$models" -f "$here/help.awk" -f "$here/$shell.awk" "$@" >"$folder/$file"
}
completion bash bash-completion/completions/runnel "$@"
completion zsh zsh/site-functions/_runnel "$@"
completion fish fish/vendor_completions.d/runnel.fish "$@"
rm -r "$help"
