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
expect_exit 0 "$RUNNEL" generate "$MODEL" --resume "$WORK/s.state" -n 4 --device opencl:0
