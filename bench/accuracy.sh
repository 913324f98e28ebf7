#!/usr/bin/env bash
# What rounded inputs and packed weights cost, by type and instruction set: the table of docs/real-models.md.
#
#   bench/accuracy.sh TEXT MODEL...        RUNNEL=build/runnel TOKENS=200 ISAS="portable avx2 ..." POLICY="--policy dense"
#
# Mean and largest difference of the likelihoods from the same file multiplied exactly (--exact --kv-type f32, which agrees
# with float64 to 1e-3), over the first TOKENS tokens of TEXT (a text, or a JSON file with "tokens").
set -eu
[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
runnel=${RUNNEL:-build/runnel}
text=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
case $text in *.json) source=(--tokens "$text") ;; *) source=("$text") ;; esac

# likelihoods MODEL FILE OPTION...: to FILE; fails where the machine lacks the instruction set.
likelihoods() {
  local model=$1 file=$2
  shift 2
  "$runnel" ppl -m "$model" "${source[@]}" --limit "${TOKENS:-200}" ${POLICY:-} --nll "$file" "$@" >/dev/null 2>"$scratch/said"
}

isas=()
for isa in ${ISAS:-portable avx2 avx_vnni avx512 avx512_bf16 amx}; do
  RUNNEL_ISA=$isa "$runnel" info "$1" >/dev/null 2>&1 && isas+=("$isa")
done
echo "| model |$(printf ' %s |' "${isas[@]}")"
echo "|---|$(printf -- '---|%.0s' "${isas[@]}")"
for model in "$@"; do
  likelihoods "$model" "$scratch/exact" --exact --kv-type f32 || { cat "$scratch/said" >&2; exit 1; }
  row="| $(basename "$model" .gguf) |"
  for isa in "${isas[@]}"; do
    RUNNEL_ISA=$isa likelihoods "$model" "$scratch/$isa" || { cat "$scratch/said" >&2; exit 1; }
    row+=$(jq -rn --slurpfile exact "$scratch/exact" --slurpfile found "$scratch/$isa" '
      [$exact[0], $found[0]] | transpose | map(.[0] - .[1] | fabs) |
      " \(add / length * 1000 | round / 1000), \(max * 100 | round / 100) |"')
  done
  echo "$row"
done
