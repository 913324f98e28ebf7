#!/usr/bin/env bash
# A device that is lost, fails or has no memory left ends a run with a clear error, and what was saved before stays.
source tests/cli/support.sh

faulty=$BUILD_DIR/tests/librunnel_faulty_opencl.so
if [[ ! -e $faulty ]] || ! "$RUNNEL" info --devices | grep -q '^opencl:0'; then
  echo "no OpenCL device: its faults are not tested"
  exit 0
fi
on_device=(--device opencl:0 --temperature 0 --window 20 --chunk 16 --quiet)
expect_exit 0 "$RUNNEL" generate "$MODEL" -p "It was a dark night" -n 4 "${on_device[@]}" --save "$WORK/s.state"
cp "$WORK/s.state" "$WORK/before"
expect_exit 0 "$RUNNEL" generate "$MODEL" --resume "$WORK/s.state" -n 12 --device opencl:0 --quiet
cp "$WORK/out" "$WORK/whole"

faulty_run() {
  RUNNEL_OPENCL=$faulty RUNNEL_FAULT=$1 expect_exit 1 "$RUNNEL" generate "$MODEL" --resume "$WORK/s.state" -n 12 \
    --device opencl:0 --quiet --save "$WORK/s.state"
  expect_text "$WORK/err" "$2"
  cmp "$WORK/s.state" "$WORK/before" || fail "after $1 the saved stream is another"
}
faulty_run launch:30:-36 "OpenCL: launching a kernel: the device is lost"
faulty_run read:5:-14 "OpenCL: reading from the device: a command failed on the device"
faulty_run read:5:-5 "OpenCL: reading from the device: out of resources"
if "$RUNNEL" info --devices | grep -q 'recorded launches'; then
  faulty_run recorded:3:-36 "OpenCL: running recorded launches: the device is lost"
fi
faulty_run buffer:20:-4 "want [0-9]* bytes of device memory, and there is not so much"

# And goes on where it was.
RUNNEL_OPENCL=$faulty expect_exit 0 "$RUNNEL" generate "$MODEL" --resume "$WORK/s.state" -n 12 --device opencl:0 --quiet
cmp "$WORK/out" "$WORK/whole" || fail "another text after the faults"
