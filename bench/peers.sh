#!/usr/bin/env bash
# Ours beside other engines, in turn on the same machine: tokens a second read (a prompt of 512) and written (64 tokens),
# medians, and ratios of medians and of the best. The others' builds are yours:
#
#   LLAMA_BENCH=.../llama-bench IK_BENCH=.../llama-bench IK_PYTHON=.../python bench/peers.sh MODEL...
#
#   LLAMA_BENCH, IK_BENCH   of llama.cpp and ik_llama.cpp;  IK_PYTHON: a Python that has ik_llama.cpp's binding instead
#   RUNNEL_ISA              our instruction set, for peers that were built for less than this machine has
#   RUNNEL=build/runnel  THREADS=(all cores)  ROUNDS=5
#
# The others write from an empty cache where llama-bench is used; ours writes past its window of 576 tokens.
set -euo pipefail
[[ $# -ge 1 ]] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(dirname "$0")
threads=${THREADS:-$(nproc)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Each prints tokens read and written a second, of a model.
runnel() {
  "${RUNNEL:-build/runnel}" bench "$1" --json -t "$threads" --window 572 --prompt 512 --ingest 64 --decode 64 --runs 1 \
    2>/dev/null | jq -r '.decode_tokens_per_second.median as $write |
      "\(512 / (.first_token_seconds.median - 1 / $write)) \($write)"'
}
llama_bench() {
  "$1" -m "$2" -t "$threads" -p 512 -n 64 -r 1 -o json 2>/dev/null |
    jq -r '[(map(select(.n_prompt == 512)) | .[0].avg_ts), (map(select(.n_gen == 64)) | .[0].avg_ts)] | join(" ")'
}
llama() { llama_bench "$LLAMA_BENCH" "$1"; }
ik() { if [[ -n ${IK_BENCH:-} ]]; then llama_bench "$IK_BENCH" "$1"; else "$IK_PYTHON" "$here/peer_ik.py" "$1" "$threads" 2>/dev/null; fi; }

engines=(runnel)
[[ -z ${LLAMA_BENCH:-} ]] || engines+=(llama)
[[ -z ${IK_BENCH:-}${IK_PYTHON:-} ]] || engines+=(ik)
[[ ${#engines[@]} -gt 1 ]] || { echo 'peers.sh: want LLAMA_BENCH, IK_BENCH or IK_PYTHON' >&2; exit 2; }

# report MODEL: of the rounds in $work, a line for each engine.
report() {
  for engine in "${engines[@]}"; do
    jq -rn --arg model "$1" --arg engine "$engine" --rawfile ours "$work/runnel" --rawfile theirs "$work/$engine" '
      def columns: split("\n") | map(select(. != "") | split(" ") | map(tonumber)) | transpose;
      def median: sort | (.[length / 2 | floor] + .[(length - 1) / 2 | floor]) / 2;
      def of($x): ($x * 100 | round) / 100;
      ($ours | columns) as $us | ($theirs | columns) as $them |
      [$model, $engine] + ([0, 1] | map(of($them[.] | median), of(($us[.] | median) / ($them[.] | median)),
        of(($us[.] | max) / ($them[.] | max)))) | "| " + (map(tostring) | join(" | ")) + " |"'
  done
}

echo "| model | engine | read, tokens/s | ours / theirs | of the best | write, tokens/s | ours / theirs | of the best |"
echo "|---|---|---|---|---|---|---|---|"
for model in "$@"; do
  for engine in "${engines[@]}"; do : >"$work/$engine"; done
  for ((round = 0; round < ${ROUNDS:-5}; ++round)); do
    for engine in "${engines[@]}"; do
      "$engine" "$model" >>"$work/$engine" || { echo "peers.sh: $engine failed on $model" >&2; exit 1; }
    done
  done
  report "$(basename "$model" .gguf)"
done
