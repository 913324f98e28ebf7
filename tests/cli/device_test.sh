#!/usr/bin/env bash
# --device and --gpu-layers on the first OpenCL device, and what is said without one.
source tests/cli/support.sh

# A loader that is not there: everything else is as it was.
export RUNNEL_OPENCL=libnothing-of-this-name.so
expect_exit 0 "$RUNNEL" info --devices
expect_text "$WORK/out" "^cpu"
expect_text "$WORK/out" "no OpenCL loader"
expect_exit 1 "$RUNNEL" generate "$MODEL" -p "It was" -n 2 --device gpu
expect_text "$WORK/err" "no OpenCL loader"
expect_exit 0 "$RUNNEL" generate "$MODEL" -p "It was" -n 2
unset RUNNEL_OPENCL

expect_exit 1 "$RUNNEL" generate "$MODEL" -p "It was" -n 2 --device tpu
expect_text "$WORK/err" "want cpu, gpu or opencl:N, found tpu"
expect_exit 0 "$RUNNEL" info --devices
if ! grep -q '^opencl:0' "$WORK/out"; then
  echo "no OpenCL device: --device is not tested"
  exit 0
fi
prompt="It was a dark and stormy night, and the old man sat by the fire, listening to the wind."
write() { expect_exit 0 "$RUNNEL" generate "$MODEL" -p "$prompt" -n 16 --temperature 0 --window 20 "$@"; }
write
cp "$WORK/out" "$WORK/processor"
write --device opencl:0 --save "$WORK/s.state"
cmp "$WORK/out" "$WORK/processor" || fail "another text from the device"
expect_text "$WORK/err" "of . layers on "
layers=$(sed -nE 's/.* ([0-9]+) of ([0-9]+) layers on .*/\2/p; s/^([0-9]+) of ([0-9]+) layers on .*/\2/p' "$WORK/err" | head -1)
write --device opencl:0 --gpu-layers 1
cmp "$WORK/out" "$WORK/processor" || fail "another text from a device and the processor"
expect_text "$WORK/err" "1 of $layers layers on "
expect_exit 0 "$RUNNEL" generate "$MODEL" --resume "$WORK/s.state" -n 4
expect_text "$WORK/err" "Saved on .*, goes on on the processor: as it would have there but for rounding."
expect_exit 0 "$RUNNEL" generate "$MODEL" --resume "$WORK/s.state" -n 4 --device opencl:0
! grep -q "Saved on" "$WORK/err" || fail "another device where it is the same"

# Less memory than all layers want: as many as fit, which is said; not one: an error.
write --device opencl:0 --gpu-memory 18M
cmp "$WORK/out" "$WORK/processor" || fail "another text where layers were split"
expect_text "$WORK/err" "[1-9] of $layers layers on .* (as many as fit), .* taken; the others on the processor"
! grep -q "$layers of $layers layers" "$WORK/err" || fail "all layers in 18 MiB"
expect_exit 1 "$RUNNEL" generate "$MODEL" -p "It was" -n 2 --device opencl:0 --gpu-memory 1M
expect_text "$WORK/err" "for one layer, its cache and buffers, found 1048576"
expect_exit 1 "$RUNNEL" generate "$MODEL" -p "It was" -n 2 --device opencl:0 --gpu-layers all --gpu-memory 12M
expect_text "$WORK/err" "bytes of device memory, and there is not so much"

# The server counts what the device does.
"$RUNNEL" serve "$MODEL" --device opencl:0 --port 0 2>"$WORK/log" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$WORK"' EXIT
for _ in $(seq 100); do
  url=$(grep -oE 'http://[0-9.]+:[0-9]+' "$WORK/log" | head -1) && break
  sleep 0.2
done
curl -s "$url/v1/completions" -d '{"prompt": "It was a dark", "max_tokens": 4}' >"$WORK/out"
curl -s "$url/metrics" >"$WORK/metrics"
for name in device_layers device_memory_bytes device_launches_total device_seconds_total; do
  grep -qE "^runnel_$name [0-9.e+]*[1-9]" "$WORK/metrics" || fail "no $name: $(grep device "$WORK/metrics")"
done
kill $server
wait $server || true
