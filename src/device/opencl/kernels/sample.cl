// Tokens from logits where they lie, as src/sampling chooses them: the likeliest top_k, of these
// top_p and min_p, and by their temperature the one that a random number falls on. Every sum is
// formed in the processor's order and every weight by exact_exp.inl, so that the token is the same.
//
// Two kernels: work-groups that take the likeliest of a slice of the logits each, and one for a
// stream that joins these and draws.
#define LANES_OF_SAMPLE 64
#define MOST_LIKELY 256  // of top_k

typedef struct {
  ulong random;  // the bits of a double in [0, 1)
  float temperature, top_p, log_min_p;  // top_p 1, log_min_p -infinity: off
  int k;      // of the likeliest; 0: the token is given
  int token;  // given
  int room;
} Draw;

typedef struct {
  int token;
  float logit;
  float log_sum;
} Drawn;

// Larger where the token is likelier: by logit, equal ones by token. 0: never chosen.
ulong key_of(float logit, int token) {
  if (!(logit > -INFINITY)) return 0;  // nor NaN
  const uint bits = logit == 0 ? 0u : as_uint(logit);
  const uint ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return ((ulong)ordered << 32) | (0xffffffffu - (uint)token);
}

float logit_of(ulong key) {
  const uint ordered = (uint)(key >> 32);
  return as_float(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
}

int token_of(ulong key) { return (int)(0xffffffffu - (uint)key); }

ulong largest_key(ulong key, local ulong* room) {
  const int lane = get_local_id(0);
  room[lane] = key;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_size = LANES_OF_SAMPLE / 2; half_size > 0; half_size /= 2) {
    if (lane < half_size) room[lane] = max(room[lane], room[lane + half_size]);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const ulong largest = room[0];
  barrier(CLK_LOCAL_MEM_FENCE);
  return largest;
}

// The largest key below `bar` of logits first, first + step, ...; 0: none.
ulong best_below(ulong bar, global const float* logits, int first, int end, int step) {
  ulong best = 0;
  for (int i = first; i < end; i += step) {
    const ulong key = key_of(logits[i], i);
    if (key < bar && key > best) best = key;
  }
  return best;
}

// Of every n_slices-th run of 64 logits: its k likeliest, keys [slices, MOST_LIKELY], the largest
// logit and the sum of exp(logit - largest) of all of its logits, sums [slices, 2].
kernel void find_likeliest(global const float* logits, int n, int n_writable, int n_slices,
                           global const Draw* draws, int stream, global ulong* keys,
                           global float* sums, global float* given) {
  local ulong room[LANES_OF_SAMPLE];
  local float float_room[LANES_OF_SAMPLE];
  const int lane = get_local_id(0);
  const int slice = get_group_id(0);
  const int first = slice * LANES_OF_SAMPLE + lane;
  const int step = n_slices * LANES_OF_SAMPLE;
  const int k = draws[stream].k;
  const long place = (long)stream * n_slices + slice;
  if (slice == 0 && lane == 0) given[stream] = k > 0 ? 0.0f : logits[draws[stream].token];
  float largest = -INFINITY;
  for (int i = first; i < n; i += step) largest = fmax(largest, logits[i]);
  largest = max_of_lanes(largest, float_room, LANES_OF_SAMPLE);
  float sum = 0;
  if (largest > -INFINITY) {
    for (int i = first; i < n; i += step) sum += exp(logits[i] - largest);
  }
  sum = sum_of_lanes(sum, float_room, LANES_OF_SAMPLE);
  if (lane == 0) sums[place * 2] = largest, sums[place * 2 + 1] = sum;
  keys += place * MOST_LIKELY;
  ulong own = k > 0 ? best_below((ulong)-1, logits, first, n_writable, step) : 0;
  for (int taken = 0; taken < k; ++taken) {
    const ulong best = largest_key(own, room);
    if (lane == 0) keys[taken] = best;
    if (best != 0 && own == best) own = best_below(best, logits, first, n_writable, step);
  }
}

#ifdef HAS_DOUBLES
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
double two_to(int n) { return as_double((ulong)(n + 1023) << 52); }
EXACT_EXP
// Of n keys, the likeliest first: how many top_p leaves.
int kept_by_top_p(local const double* weights, int n, float top_p) {
  if (top_p >= 1) return n;
  double total = 0;
  for (int i = 0; i < n; ++i) total += weights[i];
  double kept = 0;
  for (int i = 0; i < n; ++i) {
    kept += weights[i];
    if (kept >= (double)top_p * total) return i + 1;
  }
  return n;
}

int drawn_of(local const double* weights, int n, double random) {
  double total = 0;
  for (int i = 0; i < n; ++i) total += weights[i];
  double left = random * total;
  for (int i = 0; i < n; ++i) {
    left -= weights[i];
    if (left < 0) return i;
  }
  return n - 1;
}

// Of n keys, the likeliest first: the place of the one that is drawn.
int draw(Draw how, local const ulong* keys, int n, local double* weights) {
  const int lane = get_local_id(0);
  const double largest = logit_of(keys[0]);
  for (int i = lane; i < n; i += LANES_OF_SAMPLE)
    weights[i] = exact_exp((double)logit_of(keys[i]) - largest);
  barrier(CLK_LOCAL_MEM_FENCE);
  int kept = kept_by_top_p(weights, n, how.top_p);
  const float least = logit_of(keys[0]) + how.log_min_p;
  while (kept > 1 && logit_of(keys[kept - 1]) < least) --kept;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = lane; i < kept; i += LANES_OF_SAMPLE)
    weights[i] = exact_exp(((double)logit_of(keys[i]) - largest) / (double)how.temperature);
  barrier(CLK_LOCAL_MEM_FENCE);
  return drawn_of(weights, kept, as_double(how.random));
}
#endif

kernel void draw_tokens(int n_slices, global const Draw* draws, global const ulong* keys,
                        global const float* sums, global const float* given, global Drawn* drawn) {
  local ulong room[LANES_OF_SAMPLE];
  local ulong best[MOST_LIKELY];
#ifdef HAS_DOUBLES
  local double weights[MOST_LIKELY];
#endif
  const int lane = get_local_id(0);
  const int stream = get_group_id(0);
  const Draw how = draws[stream];
  keys += (long)stream * n_slices * MOST_LIKELY + lane * MOST_LIKELY;
  sums += (long)stream * n_slices * 2;
  int at = 0;
  ulong own = lane < n_slices && how.k > 0 ? keys[0] : 0;
  int n = 0;
  for (int i = 0; i < how.k; ++i) {
    const ulong largest = largest_key(own, room);
    if (lane == 0) best[i] = largest;
    if (largest != 0) ++n;
    if (largest != 0 && own == largest) own = ++at < how.k ? keys[at] : 0;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  int chosen = 0;
#ifdef HAS_DOUBLES
  if (n > 0 && how.temperature > 0) chosen = draw(how, best, n, weights);
#endif
  if (lane != 0) return;
  float largest = -INFINITY;
  for (int s = 0; s < n_slices; ++s) largest = fmax(largest, sums[s * 2]);
  float sum = 0;
  for (int s = 0; s < n_slices; ++s) sum += sums[s * 2 + 1] * exp(sums[s * 2] - largest);
  drawn[stream].token = how.k == 0 ? how.token : n > 0 ? token_of(best[chosen]) : -1;
  drawn[stream].logit = how.k == 0 ? given[stream] : n > 0 ? logit_of(best[chosen]) : 0.0f;
  drawn[stream].log_sum = largest + log(sum);
}
