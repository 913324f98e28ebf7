#!/usr/bin/env bash
# What a GPU does with random models of 1.1 and 7 thousand million parameters: decode, batches of streams, ingestion,
# latency, and the sink policy against recomputation.
#   bench/gpu.sh [DEVICE]      a device of `runnel info --devices`; default gpu
# Builds the program in $BUILD_DIR (default build), and first checks the device against the processor and the reference series: a device that is
# wrong is not timed.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-gpu}
build=${BUILD_DIR:-build}
runnel=$build/runnel

cmake --build "$build" --target runnel_cli >/dev/null
"$runnel" info --devices
if [[ -x $build/tests/runnel_tests ]]; then
  "$build/tests/runnel_tests" --gtest_brief=1 --gtest_filter='*OpenCl*'
else
  echo "not built: tests/runnel_tests (make configure-tests); numbers are not checked"
fi

bench() { "$runnel" bench --device "$device" --json --runs 3 "$@"; }
line() {
  jq -r --arg name "$1" '"\($name): decode \(.decode_tokens_per_second.median | round) tokens/s, \(100 * .decode_part_of_bandwidth.median | round) % of the copy bandwidth; ingestion \(.ingest_tokens_per_second.median | round) tokens/s; \(.device.launches_per_token | round) launches a token"'
}

for shape in tinyllama-1.1b llama-2-7b; do
  for type in q8_0 q4_0 f16; do
    bench --shape $shape --type $type --window 1019 --decode 64 --ingest 512 | line "$shape $type"
  done
done
for streams in 16 64; do
  bench --shape llama-2-7b --type q8_0 --window 1019 --decode 16 --ingest 512 --streams $streams |
    jq -r '"llama-2-7b q8_0, \(.streams.count) streams: \(.streams.tokens_per_second.median | round) tokens/s"'
done
bench --shape llama-2-7b --type q8_0 --window 1019 --decode 16 --ingest 512 --latency 500 |
  jq -r '.latency_seconds | "latency of a step: median \(.median), 99 % \(.p99), 99.9 % \(.p999), slowest \(.max) s"'
for cache in 256 512 1024 2048 4096; do
  sink=$(bench --shape llama-2-7b --type f16 --window $((cache - 5)) --decode 16 --ingest 256 |
    jq .decode_tokens_per_second.median)
  recompute=$(bench --shape llama-2-7b --type f16 --window $((cache - 5)) --policy recompute --decode 1 --ingest 1 --runs 1 |
    jq .decode_tokens_per_second.median)
  echo "cache $cache, f16: sink $sink, recompute $recompute tokens/s, $(jq -n "$sink / $recompute") times"
done
