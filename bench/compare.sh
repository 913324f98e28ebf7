#!/usr/bin/env bash
# This tree beside another commit of it, in turn on this machine: the tables of docs/performance.md, as ratios of medians.
#   bench/compare.sh BASE          a commit, branch or tag;   make bench-compare BASE=main
# ROUNDS=2                       of each measurement, one of either tree after the other; some 35 minutes each on two cores,
#                                and what the two builds take (standard error tells how far it is)
# MODELS="FILE..."               measured first; then random weights of SHAPES
# SHAPES="tinyllama-1.1b ..."    default: that one, and llama-2-7b where memory holds it
# ISAS="avx2 ..."                default: all of this machine
# KERNELS=REGEX                  of bench_kernels; default: products of 16 and 512 tokens, attention of 8 and 32 rows
# BUILD=build/compare            where both are built, and the models made
set -euo pipefail
[[ $# -eq 1 ]] || { sed -n '2,11p' "$0" >&2; exit 2; }
commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "compare.sh: $1: no such commit" >&2; exit 1; }
rounds=${ROUNDS:-2}
build=${BUILD:-build/compare}
mkdir -p "$build"
build=$(cd "$build" && pwd)
[[ -d $build/base ]] || git worktree add --quiet --force --detach "$build/base" "$commit"
git -C "$build/base" checkout --quiet --detach "$commit"

say() { printf '%3d min  %s\n' $((SECONDS / 60)) "$*" >&2; }
compile() { # SOURCE FOLDER
  say "building $2"
  cmake -S "$1" -B "$2" -DCMAKE_BUILD_TYPE=Release -DRUNNEL_UNITY=ON -DRUNNEL_TESTS=OFF -DRUNNEL_BENCH=ON \
    $(command -v ninja >/dev/null && echo "-G Ninja") \
    $(command -v ccache >/dev/null && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache) >"$2.log"
  cmake --build "$2" -j "${JOBS:-$(nproc)}" --target runnel_cli bench_kernels >>"$2.log" ||
    { tail -20 "$2.log" >&2; echo "compare.sh: $1 does not build: $2.log" >&2; exit 1; }
}
compile "$build/base" "$build/build-base"
compile . "$build/build-ours"

# The medians of columns, of lines of numbers on standard input.
medians() {
  jq -rRs 'split("\n") | map(select(. != "") | split(" ") | map(tonumber)) | transpose |
    map(sort | (.[length / 2 | floor] + .[(length - 1) / 2 | floor]) / 2) | join(" ")'
}
# row NAME MEASURE ARGUMENT...: MEASURE TREE ARGUMENT... prints tokens or pairs a second, one or more.
row() {
  local name=$1 measure=$2 round tree text
  shift 2
  say "$((++n_rows)): $name"
  rm -f "$build"/times-*
  for ((round = 0; round < rounds; ++round)); do
    for tree in base ours; do
      "$measure" "$build/build-$tree" "$@" >>"$build/times-$tree" || { echo "| $name | failed on $tree |"; return; }
    done
  done
  text=$(paste -d' ' <(medians <"$build/times-base") <(medians <"$build/times-ours"))
  jq -rn --arg name "$name" --arg text "$text" '($text | split(" ") | map(tonumber)) as $all | ($all | length / 2) as $n |
    [$name] + [range($n) as $i | $all[$i], $all[$i + $n], $all[$i + $n] / $all[$i] | . * 100 | round / 100] |
    "| " + (map(tostring) | join(" | ")) + " |"'
}
speeds() { # TREE ARGUMENT...: read, written
  "$1/runnel" bench "${@:2}" --json --runs 1 --ingest 512 --decode 32 --prompt 64 2>/dev/null |
    jq -r '"\(.ingest_tokens_per_second.median) \(.decode_tokens_per_second.median)"'
}
together() { # TREE STREAMS ARGUMENT...
  "$1/runnel" bench "${@:3}" --json --runs 1 --ingest 64 --decode 32 --prompt 64 --streams "$2" 2>/dev/null |
    jq -r '.streams.tokens_per_second.median'
}
kernels() { # TREE: their names
  "$1/bench/bench_kernels" --benchmark_filter="${KERNELS:-(product/.*/(16|512)|attention/(f16|q8_0)/(8|32))/}" \
    --benchmark_list_tests | sed 's|/min_time.*||' | sort
}
kernel() { # TREE NAME: pairs a second
  "$1/bench/bench_kernels" --benchmark_filter="^$2/min_time" --benchmark_repetitions=1 --benchmark_format=json 2>/dev/null |
    jq -er '.benchmarks[] | select(.aggregate_name == "median" and .error_occurred != true)["G_pairs/s"]'
}

read -ra isas <<<"${ISAS:-$(RUNNEL_ISA=none "$build/build-ours/runnel" ppl -m models/novella-7m-q8_0.gguf LICENSE 2>&1 |
  sed -n 's/.*which has: //p' | tr -d ,)}"
memory=$(awk '/^MemAvailable/ { print int($2 / 1e6) }' /proc/meminfo)  # GB
shapes=${SHAPES-tinyllama-1.1b$([[ $memory -ge 24 ]] && echo " llama-2-7b")}

n_rows=0
echo "| model | read: base | ours | ratio | written: base | ours | ratio |"
echo "|---|---|---|---|---|---|---|"
for model in ${MODELS:-}; do row "$(basename "$model" .gguf), window 508" speeds -m "$model" --window 508; done
made=()
for shape in $shapes; do
  while read -r type cache windows; do
    file=$build/$shape-$type.gguf
    [[ -s $file ]] || "$build/build-ours/runnel" make-model --shape "$shape" "$file" --type "$type" >/dev/null 2>&1
    for window in $windows; do
      row "$shape, $type, $cache cache, window $window" speeds -m "$file" --kv-type "$cache" --window "$window"
    done
    made+=("$file")
  done <<'TABLE'
q4_0 f16 252 2043
q4_0 q8_0 2043
q8_0 f16 252 2043
q4_k_m f16 252 2043
f16 f16 252
f16 q8_0 2043
TABLE
done
first=${made[0]:-${MODELS%% *}}
for isa in "${isas[@]}"; do RUNNEL_ISA=$isa row "$(basename "$first" .gguf), window 252, $isa" speeds -m "$first" --window 252; done

printf '\n| streams together | base | ours | ratio |\n|---|---|---|---|\n'
for n in 2 4 16; do row "$(basename "$first" .gguf), $n streams" together "$n" -m "$first" --window 252; done

printf '\n| kernel, G pairs a second | base | ours | ratio |\n|---|---|---|---|\n'
for name in $(comm -12 <(kernels "$build/build-base") <(kernels "$build/build-ours")); do row "$name" kernel "$name"; done
say "done"
