#!/usr/bin/env bash
# The paper's experiments on natural models: what docs/experiments.md reports.
#   bench/experiments.sh OUT TEXT MODEL...     a folder below OUT for each model; what is there is not measured again
# CACHE=256      tokens of the cache in all
# LIMIT=6000     tokens of the text
# RECOMPUTE=150  positions past the cache that are recomputed
# RUNNEL=build/runnel
# Where gnuplot is here, also pictures of all models side by side (bench/natural.sh).
set -euo pipefail
[[ $# -ge 3 ]] || { sed -n '2,8p' "$0" >&2; exit 2; }
out=$1 text=$2
shift 2
runnel=${RUNNEL:-build/runnel} cache=${CACHE:-256} limit=${LIMIT:-6000}

measure() { # FOLDER COMMAND...
  local folder=$1
  shift
  [[ -e $folder/done ]] && return
  echo "== runnel $* -o $folder" >&2
  mkdir -p "$folder"
  "$runnel" "$@" -o "$folder" >"$folder/table.txt"
  touch "$folder/done"
}

for model in "$@"; do
  name=$(basename "$model" .gguf)
  to=$out/$name
  measure "$to/ppl" ppl "$model" "$text" --policy all --sinks 4 --window $((cache - 4)) --limit "$limit" \
    --recompute-tokens "${RECOMPUTE:-150}"
  measure "$to/attention" attention "$model" "$text"
  measure "$to/attention-128" attention "$model" "$text" --length 128 --texts 32
  measure "$to/sinks" ablate sinks "$model" "$text" --cache "$cache" --limit "$limit"
  measure "$to/linebreak" ablate linebreak "$model" "$text" --cache "$cache" --limit "$limit"
  measure "$to/window" ablate window "$model" "$text" --cache "$cache" --limit "$limit"
  for policy in dense window sink recompute; do
    measure "$to/questions-$policy" streameval "$model" --questions "$(dirname "$0")/capitals.jsonl" --answer-tokens 8 --policy "$policy" \
      --window "$([[ $policy == sink || $policy == recompute ]] && echo $((cache - 4)) || echo "$cache")"
  done
  measure "$to/streameval" streameval "$model" --lines 120 --distance 5,10,20,40 --window 1020
done

command -v gnuplot >/dev/null || exit 0
titles=()
for model in "$@"; do
  name=$(basename "$model" .gguf)
  titles+=("$name=$name")
done
CACHE=$cache "$(dirname "$0")/natural.sh" "$out" "${titles[@]}"
