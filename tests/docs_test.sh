#!/usr/bin/env bash
# The documents are true: ```sh blocks run, links lead somewhere, a link that shows code leads to the line with that
# code, and the C++ of the README is the example's.
source tests/cli/support.sh

root=$PWD
mkdir "$WORK/run"
ln -s "$root/models" "$WORK/run/models"

run_blocks() { # DOCUMENT
  local n
  n=$(awk -v out="$WORK/block" '/^```sh$/ {inside = 1; n++; next} /^```/ {inside = 0}
    inside {print > (out n)} END {print n + 0}' "$1")
  for ((i = 1; i <= n; i++)); do
    sed -i "s#build/runnel#$RUNNEL#g" "$WORK/block$i"
    (cd "$WORK/run" && timeout 300 bash -euo pipefail "$WORK/block$i") >"$WORK/out" 2>&1 ||
      fail "$1, sh block $i: $(tail -n 3 "$WORK/out")"
  done
  echo "$1: $n blocks"
}

check_links() { # DOCUMENT
  local folder text target path line
  folder=$(dirname "$1")
  while IFS=$'\t' read -r text target; do
    path=${target%%#*}
    [[ -e $folder/$path ]] || fail "$1: a link to $path, which is not there"
    [[ $target == *#L* ]] || continue
    line=${target##*#L}
    text=${text//\`/}
    sed -n "${line}p" "$folder/$path" | grep -qF -- "$text" ||
      fail "$1: a link to $path line $line for '$text', which is at line $(grep -nF -- "$text" "$folder/$path" | cut -d: -f1)"
  done < <(grep -oP '\[[^]]*\]\((?!http)[^)]+\)' "$1" | sed -E 's/^\[(.*)\]\((.*)\)$/\1\t\2/')
}

for document in README.md docs/*.md; do
  run_blocks "$document"
  check_links "$document"
done

awk '/^```cpp$/ {inside = 1; next} /^```/ {inside = 0} inside' README.md >"$WORK/cpp"
[[ -s $WORK/cpp ]] || fail "README.md: no C++"
while read -r line; do
  grep -qF -- "$line" examples/endless.cpp || fail "README.md: not in examples/endless.cpp: $line"
done <"$WORK/cpp"
