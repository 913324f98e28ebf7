// What all programs share. Sums are formed in an order that depends on nothing but a row's own
// operands, and nothing is contracted behind our back: the same numbers in every variant of a
// kernel.
#pragma OPENCL FP_CONTRACT OFF

#define NORM_NONE 0
#define NORM_RMS 1
#define NORM_LAYER 2

float bfloat_at(global const ushort* p, long i) { return as_float((uint)p[i] << 16); }

// As the processor's: to the nearest, ties to even.
ushort to_bfloat(float x) {
  const uint bits = as_uint(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return (ushort)((bits >> 16) | 0x40);
  return (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The sum of a number of each of the first n_lanes (a power of two) work-items, the same for all.
float sum_of_lanes(float x, local float* room, int n_lanes) {
  const int lane = get_local_id(0);
  if (lane < n_lanes) room[lane] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_size = n_lanes / 2; half_size > 0; half_size /= 2) {
    if (lane < half_size) room[lane] += room[lane + half_size];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const float sum = room[0];
  barrier(CLK_LOCAL_MEM_FENCE);
  return sum;
}

float max_of_lanes(float x, local float* room, int n_lanes) {
  const int lane = get_local_id(0);
  if (lane < n_lanes) room[lane] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_size = n_lanes / 2; half_size > 0; half_size /= 2) {
    if (lane < half_size) room[lane] = fmax(room[lane], room[lane + half_size]);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const float largest = room[0];
  barrier(CLK_LOCAL_MEM_FENCE);
  return largest;
}
