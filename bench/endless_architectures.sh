#!/usr/bin/env bash
# Streams N tokens (default 100,000) from a small random model of every architecture, far past its window, and prints
# the resident memory early and late and the range of the tokens' log-probabilities. Fails when memory has grown by
# 1 MiB or a log-probability is not a number.
#   bench/endless_architectures.sh [N]        RUNNEL=build/runnel
set -euo pipefail
cd "$(dirname "$0")/.."
runnel=${RUNNEL:-build/runnel}
n=${1:-100000}
early=2000
late=$((n - 5000)) # the program is still busy with the rest while its memory is read
[[ $late -gt $early ]] || { echo "want at least 8000 tokens, found $n" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }

printf '%-14s %12s %12s %10s %20s %10s\n' architecture "KiB at $early" "KiB at $late" growth log-probability tokens/s
while read -r architecture _; do
  "$runnel" make-model --arch "$architecture" --shape tiny --type f32 "$work/tiny.gguf" >"$work/log"
  exec 3< <(exec "$runnel" generate "$work/tiny.gguf" -n "$n" --json --quiet --sinks 4 --window 60 --threads 1)
  pid=$!
  start=$(date +%s%N)
  mapfile -t -n "$early" -u 3 lines
  before=$(resident_kib $pid)
  printf '%s\n' "${lines[@]}" >"$work/tokens"
  mapfile -t -n $((late - early)) -u 3 lines
  after=$(resident_kib $pid)
  printf '%s\n' "${lines[@]}" >>"$work/tokens"
  seconds=$(awk -v from="$start" -v to="$(date +%s%N)" 'BEGIN {print (to - from) / 1e9}')
  cat <&3 | grep '"id"' >>"$work/tokens"
  exec 3<&-
  range=$(jq -rs 'if all(.[]; .logprob | type == "number") then map(.logprob) | "\(min) \(max)" else "none" end' "$work/tokens")
  [[ $range != none ]] || { echo "$architecture: a log-probability is not a number" >&2; exit 1; }
  [[ $(wc -l <"$work/tokens") -eq $n ]] || { echo "$architecture: not $n tokens" >&2; exit 1; }
  [[ $((after - before)) -lt 1024 ]] || { echo "$architecture: memory grew from $before to $after KiB" >&2; exit 1; }
  printf '%-14s %12d %12d %10d %9.3f %10.3f %10.0f\n' "$architecture" "$before" "$after" $((after - before)) $range \
    "$(awk -v n="$late" -v s="$seconds" 'BEGIN {print n / s}')"
done < <("$runnel" info --list-architectures)
