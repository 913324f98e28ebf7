#!/usr/bin/env bash
# Perplexity against position under each policy: measures, prints a table, draws docs/perplexity.svg or another.
#   bench/perplexity.sh MODEL TEXT [PLOT.svg]
# WINDOW=60      tokens kept beside the sinks
# LIMIT=20000    tokens; fewer for the slow one (RECOMPUTE_LIMIT) and for the one that grows (DENSE_LIMIT=2000)
# VALUES=FOLDER  where the values of each token are kept; what is there is not measured again
# RUNNEL=build/runnel
set -euo pipefail
[[ $# -ge 2 && $# -le 3 ]] || { sed -n '2,7p' "$0" >&2; exit 2; }
model=$1 text=$2 plot=${3:-perplexity.svg}
runnel=${RUNNEL:-build/runnel}
window=${WINDOW:-60}
limit=${LIMIT:-20000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
values=${VALUES:-$work}

measure() { # NAME LIMIT OPTIONS...
  local name=$1 n=$2
  shift 2
  [[ -s $values/$name.json ]] || "$runnel" ppl "$model" "$text" --limit "$n" --nll "$values/$name.json" "$@" >/dev/null
  jq -r "[length, (add / length | exp)] | \"$name \\(.[0]) \\(.[1] * 1000 | round / 1000)\"" "$values/$name.json"
  # Mean over 500 tokens, at their middle; the dense cache needs finer steps.
  jq -r --argjson step "$((n > 5000 ? 500 : 100))" 'range(0; length - $step + 1; $step) as $i |
    "\($i + $step / 2) \(.[$i:$i + $step] | add / length | exp)"' "$values/$name.json" >"$work/$name.dat"
}
measure "dense" "${DENSE_LIMIT:-2000}" --policy dense
measure "window-$window" "$limit" --policy window --window "$window"
measure "sink-$window" "$limit" --policy sink --sinks 4 --window "$window"
measure "recompute-$window" "${RECOMPUTE_LIMIT:-$limit}" --policy recompute --sinks 4 --window "$window"

gnuplot <<PLOT
set terminal svg size 760,380 dynamic font "sans-serif,13" background "white"
set output "$plot"
set xlabel "position (tokens)"
set ylabel "perplexity, mean of 500 tokens"
set format x "%'.0f"
set logscale y 2
set yrange [20:400]
set ytics (25, 50, 100, 200, 400)
set key top right
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
plot "$work/dense.dat" with lines lw 2 lc rgb "#999999" title "dense, past the trained context", \
     "$work/window-$window.dat" with lines lw 2 lc rgb "#cc4444" title "window $window, no sinks", \
     "$work/recompute-$window.dat" with lines lw 4 lc rgb "#bbccee" title "recompute 4 + $window", \
     "$work/sink-$window.dat" with lines lw 2 lc rgb "#2255aa" title "4 sinks + window $window"
PLOT
