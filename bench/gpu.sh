#!/usr/bin/env bash
# What a GPU does with random models of 1.1 and 7 thousand million parameters: decode, batches of streams, ingestion,
# latency, launches a step, and the sink policy against recomputation.
#   bench/gpu.sh [DEVICE]            a device of `runnel info --devices`; default gpu
#   bench/gpu.sh --small [DEVICE]    the same lines with models that any device runs in seconds, to try the script
# Builds the program in $BUILD_DIR (default build), or takes $RUNNEL and $TESTS as they are, and first checks the device against the processor and the
# reference series: a device that is wrong is not timed. Each model is made and loaded as seldom as can be, so that a GPU is done in less than four minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
small=
[[ ${1:-} == --small ]] && small=1 && shift
device=${1:-gpu}
build=${BUILD_DIR:-build}
runnel=${RUNNEL:-$build/runnel}
checks=${TESTS:-$build/tests/runnel_tests}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ $small ]]; then
  light=tiny large=tiny cells=(q8_0 q4_0 f16) caches=(32 64) more_streams=(4 8)
  steady=(--window 59 --decode 4 --ingest 64 --prompt 16 --runs 1) steps=20 tests='OpenClOperations.*'
else
  light=tinyllama-1.1b large=llama-2-7b cells=(q8_0 q4_0 f16) caches=(256 512 1024 2048 4096) more_streams=(16 64)
  steady=(--window 1019 --decode 48 --ingest 1024 --chunk 512 --runs 3) steps=300
  tests='*OpenClGolden*:*OpenClOperations*:*OpenClProduct*:*OpenClModel*'
fi

[[ -n ${RUNNEL:-} ]] || cmake --build "$build" --target runnel_cli >/dev/null
"$runnel" info --devices
# One step of the smallest model: is the device there, and does it do what it is told?
"$runnel" make-model "$work/first.gguf" >/dev/null 2>&1
if ! "$runnel" generate "$work/first.gguf" -p "It was" -n 1 --device "$device" --gpu-layers all >/dev/null 2>"$work/error"; then
  echo "bench/gpu.sh: $device runs no model: $(tail -1 "$work/error")" >&2
  exit 1
fi
if [[ -x $checks ]]; then
  "$checks" --gtest_brief=1 --gtest_filter="$tests"
else
  echo "not built: tests/runnel_tests (make configure-tests); numbers are not checked"
fi

# bench SHAPE TYPE OPTIONS...
bench() {
  local model=(--shape "$1" --type "$2")
  if [[ $small ]]; then
    model=("$work/$2.gguf")
    [[ -e ${model[0]} ]] || "$runnel" make-model "${model[0]}" --type "$2" >/dev/null 2>&1
  fi
  "$runnel" bench "${model[@]}" --device "$device" --gpu-layers all --json "${steady[@]}" "${@:3}" 2>/dev/null
}
# NAME: the lines of one run's JSON, as far as it has them.
lines() {
  jq -r --arg name "$1" '
    def round1: . * 10 | round / 10;
    "\($name): decode \(.decode_tokens_per_second.median | round1) tokens/s, \(100 * .decode_part_of_bandwidth.median | round1) % of the copy bandwidth (\(.read_bytes_per_second.median / 1e9 | round1) GB/s); ingestion \(.ingest_tokens_per_second.median | round1) tokens/s, \(100 * .ingest_part_of_peak | round1) % of the peaks in registers (\(.multiply_adds_per_second | map_values(. / 1e9 | round) | tojson) G multiply-adds/s); \(.device.launches_per_token | round1) launches a token",
    (.streams // empty | "\($name), \(.count) streams: \(.tokens_per_second.median | round1) tokens/s"),
    (.latency_seconds // empty | "\($name), latency of a step: median \(1e3 * .median) ms, 99 % \(1e3 * .p99), 99.9 % \(1e3 * .p999), slowest \(1e3 * .max)")'
}

for type in "${cells[@]}"; do bench $light $type | lines "$light $type"; done
bench $large q8_0 --streams "${more_streams[0]}" --latency $steps | lines "$large q8_0"
bench $large q8_0 --streams "${more_streams[1]}" | lines "$large q8_0" | tail -1
bench $large q4_0 | lines "$large q4_0"
bench $large f16 | lines "$large f16"

# Sink against recomputation, one model for all caches: 4 sinks, the token itself, and the rest.
"$runnel" make-model "$work/f16.gguf" --shape $large --type f16 >/dev/null 2>&1
cat docs/*.md >"$work/text"
windows=$(printf '%s,' "${caches[@]}")
"$runnel" latency "$work/f16.gguf" "$work/text" --device "$device" --gpu-layers all --windows "${windows%,}" --tokens 16 \
  --recomputed-tokens 2 --dense-factor 1 --json >"$work/latency"
jq -r --arg name "$large f16" '.rows[] |
  "\($name), cache of 4 sinks and \(.window): sink \(.sink_ms) ms a token, recompute \(.recompute_ms) ms, \(.recompute_to_sink) times"' "$work/latency"
echo "took $SECONDS s"
