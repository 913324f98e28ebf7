#!/usr/bin/env bash
# What bench/experiments.sh measured of several models, side by side: natural-perplexity.svg and natural-share.svg (the first token's
# share of attention, layer by layer).
#   bench/natural.sh OUT NAME=TITLE...     NAME: a model's folder in OUT
# CACHE=256      tokens of the cache, marked in the picture
set -euo pipefail
[[ $# -ge 2 ]] || { sed -n '2,5p' "$0" >&2; exit 2; }
cd "$1"
shift
colours=('#0072B2' '#D55E00' '#009E73' '#CC79A7')
common="set encoding utf8; set border 3 lc rgb '#888888'; set tics nomirror textcolor rgb '#333333'
set grid back lc rgb '#e4e4e4' lt 1 lw 1; set key textcolor rgb '#333333'"

perplexity() {
  echo "$common
set terminal svg size $((60 + 300 * $#)),400 font 'sans-serif,14' background rgb 'white'
set output 'natural-perplexity.svg'
set multiplot
set logscale xy; set format x '%.0s%c'; set xrange [50:6000]; set yrange [20:700]; set ytics (20, 30, 50, 100, 200, 500)
set key off; set tmargin at screen 0.88; set bmargin at screen 0.27
set arrow 1 from ${CACHE:-256}, graph 0 to ${CACHE:-256}, graph 1 nohead dt 2 lc rgb '#999999' back"
  local i=0
  for model in "$@"; do
    echo "set lmargin at screen (0.07 + $i * 0.93 / $#); set rmargin at screen (0.035 + ($i + 1) * 0.93 / $#)
set title '${model#*=}'; set xlabel '$([[ $((2 * i + 1)) == "$#" ]] && echo 'position in the stream (tokens)')'
set ylabel '$([[ $i == 0 ]] && echo perplexity)' offset 1
plot '${model%%=*}/ppl/perplexity.dat' index 1 using 1:2 with lines lw 2.5 lc rgb '#D55E00', \
  '' index 2 using 1:2 with lines lw 2.5 lc rgb '#0072B2', '' index 3 using 1:2 with points pt 7 ps 0.6 lc rgb '#222222', \
  '' index 0 using 1:2 with lines lw 2.5 lc rgb '#009E73'"
    i=$((i + 1))
  done
  echo "set lmargin at screen 0; set rmargin at screen 1; set tmargin at screen 0.13; set bmargin at screen 0.01
unset border; unset tics; unset xlabel; unset ylabel; unset title; unset arrow; unset grid; unset logscale
set yrange [0:1]; set xrange [0:1]; set key center center horizontal maxrows 1 samplen 2 width 1
plot NaN with lines lw 2.5 lc rgb '#D55E00' title 'the last tokens alone', \
  NaN with lines lw 2.5 lc rgb '#0072B2' title 'sinks and the last tokens', \
  NaN with points pt 7 ps 0.6 lc rgb '#222222' title 'recomputation', NaN with lines lw 2.5 lc rgb '#009E73' title 'everything kept'
unset multiplot"
}

share() {
  echo "$common
set terminal svg size 760,360 font 'sans-serif,14' background rgb 'white'
set output 'natural-share.svg'
set xlabel 'depth (layer / last layer)'; set ylabel 'attention on the first token, %'
set xrange [0:1]; set yrange [0:100]; set key outside right center reverse Left"
  local plots=() i=0
  for model in "$@"; do
    local data=natural-share-$i.dat
    awk -F, 'NR > 1 { sum[$1] += 100 * $4; n[$1]++; if ($1 > last) last = $1 }
             END { for (l = 0; l <= last; l++) print l / last, sum[l] / n[l] }' "${model%%=*}/attention/sink-scores.csv" >"$data"
    plots+=("'$data' using 1:2 with linespoints lw 2 pt 7 ps 0.5 lc rgb '${colours[i++ % 4]}' title '${model#*=}'")
  done
  local IFS=,
  echo "plot ${plots[*]}"
}

perplexity "$@" | gnuplot
share "$@" | gnuplot
