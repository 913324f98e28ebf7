// What products take: 32 columns as int8 with a scale and the sums of their halves, or floats, or
// both. They come from a row's norm, from an activation, or from the parts of its attention; a
// product of one row makes them for itself in local memory, others read them where `prepare` left
// them. The same bits either way: of a norm LANES work-items take their sums in a fixed order.
#define LANES 128
#define SOURCE_NORM 0
#define SOURCE_ACTIVATION 1
#define SOURCE_PARTS 2

#define ACTIVATION_SILU 0
#define ACTIVATION_GELU 1
#define ACTIVATION_SWIGLU_OAI 2

float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

float activated(int activation, float gate, float up) {
  if (activation == ACTIVATION_SILU) return gate * sigmoid(gate) * up;
  if (activation == ACTIVATION_GELU) {
    const float inner = 0.79788456080286535588f * gate * (1.0f + 0.044715f * gate * gate);
    return 0.5f * gate * (1.0f + tanh(inner)) * up;
  }
  const float g = fmin(gate, 7.0f);
  const float u = clamp(up, -7.0f, 7.0f);
  return g * sigmoid(1.702f * g) * (u + 1.0f);
}

#define AT_ONCE 8  // numbers that a work-item asks memory for at once

// Of a lane's numbers x, x + LANES, ... the sum (power 1) or the sum of the squares (2) about `mean`.
float sum_of_powers(global const float* x, int width, float mean, int power) {
  float sum = 0;
  for (int base = get_local_id(0); base < width; base += LANES * AT_ONCE) {
    float y[AT_ONCE];
    for (int k = 0; k < AT_ONCE; ++k) {
      const int i = base + k * LANES;
      y[k] = i < width ? x[i] - mean : 0.0f;
    }
    for (int k = 0; k < AT_ONCE; ++k) sum = power == 1 ? sum + y[k] : fma(y[k], y[k], sum);
  }
  return sum;
}

// Mean (of layer norm) and factor of a row.
float2 norm_of(int kind, global const float* x, int width, float epsilon, local float* room) {
  if (kind == NORM_NONE) return (float2)(0.0f, 1.0f);
  const bool is_lane = get_local_id(0) < LANES;
  float mean = 0;
  if (kind == NORM_LAYER) {
    const float sum = is_lane ? sum_of_powers(x, width, 0.0f, 1) : 0.0f;
    mean = sum_of_lanes(sum, room, LANES) / (float)width;
  }
  float squares = is_lane ? sum_of_powers(x, width, mean, 2) : 0.0f;
  squares = sum_of_lanes(squares, room, LANES);
  return (float2)(mean, 1.0f / sqrt(squares / (float)width + epsilon));
}

float normalised(float x, float2 norm, int kind, global const float* weight,
                 global const float* bias, int has_bias, int i) {
  if (kind == NORM_NONE) return x;
  const float y = (x - norm.x) * norm.y * weight[i];
  return has_bias ? y + bias[i] : y;
}

// Of attention's parts [heads, splits, head_dim + 2] (maximum, denominator, weighted values) of one
// row: what each weighs, factors [heads, splits], and the denominators [heads], with the sinks of
// the softmax itself, one of the row and one learned for the head. `room` [heads, splits].
void weigh_parts(global const float* parts, int n_heads, int n_splits, int head_dim, float row_sink,
                 global const float* head_sinks, int has_head_sinks, local float* factors,
                 local float* denominators, local float* room) {
  const int n_parts = n_heads * n_splits;
  for (int i = get_local_id(0); i < n_parts; i += get_local_size(0)) {
    factors[i] = parts[(long)i * (head_dim + 2)];
    room[i] = parts[(long)i * (head_dim + 2) + 1];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int head = get_local_id(0); head < n_heads; head += get_local_size(0)) {
    local float* factor = factors + head * n_splits;
    const float head_sink = has_head_sinks ? head_sinks[head] : -INFINITY;
    float maximum = fmax(row_sink, head_sink);
    for (int s = 0; s < n_splits; ++s) maximum = fmax(maximum, factor[s]);
    float denominator = exp(row_sink - maximum) + exp(head_sink - maximum);
    for (int s = 0; s < n_splits; ++s) {
      factor[s] = exp(factor[s] - maximum);
      denominator = fma(room[head * n_splits + s], factor[s], denominator);
    }
    denominators[head] = denominator;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
}

// Numbers [at, at + AT_ONCE) of a row from its parts; zeros behind its end.
void join_parts(global const float* parts, int n_splits, int head_dim, int width,
                local const float* factors, local const float* denominators, int at, float* out) {
  for (int i = 0; i < AT_ONCE; ++i) out[i] = 0;
  for (int s = 0; s < n_splits; ++s) {
    float value[AT_ONCE];
    for (int i = 0; i < AT_ONCE; ++i) {
      const int head = min(at + i, width - 1) / head_dim;
      value[i] = at + i < width ? parts[((long)head * n_splits + s) * (head_dim + 2) + 2 +
                                        (at + i - head * head_dim)]
                                : 0.0f;
    }
    for (int i = 0; i < AT_ONCE; ++i) {
      const int head = min(at + i, width - 1) / head_dim;
      out[i] = fma(value[i], factors[head * n_splits + s], out[i]);
    }
  }
  for (int i = 0; i < AT_ONCE; ++i) out[i] /= denominators[min(at + i, width - 1) / head_dim];
}

// `x`: the row, or the gate of an activation (`up`: what it is multiplied with), or parts; `weight`,
// `bias`: of the norm; for parts `weight` the heads' sinks and `bias` the rows'. `room`: for parts
// [heads * (splits + 1)] and more.
#define SOURCE                                                                                   \
  int source, global const float *x, global const float *up, int has_up, int activation, int kind, \
      global const float *weight, int has_weight, global const float *bias, int has_bias,        \
      float epsilon, int n_heads, int n_splits, int head_dim
#define SOURCE_OF(row)                                                                           \
  source, x + (row) * (source == SOURCE_PARTS ? (long)n_heads * n_splits * (head_dim + 2) : width), \
      up + (row) * (has_up ? (long)width : 0), has_up, activation, kind, weight, has_weight,     \
      source == SOURCE_PARTS ? bias + (row) : bias, has_bias, epsilon, n_heads, n_splits, head_dim

// Four work-items for each 32 columns, all of the work-group; zeros fill up the last ones. `room` and
// `counts` [work-items].
//   quants [chunks, 32]   scales [chunks]   sums [chunks, 2]   floats [chunks, 32]
#define PREPARE(NAME, SPACE)                                                                     \
  void NAME(SOURCE, int width, int chunks, int wants_quants, int wants_floats,                   \
            SPACE char* quants, SPACE float* scales, SPACE short* sums, SPACE float* floats,     \
            local float* room, local int* counts, local float* factors) {                        \
    const int lane = get_local_id(0);                                                            \
    float2 norm = (float2)(0.0f, 1.0f);                                                          \
    if (source == SOURCE_NORM) norm = norm_of(kind, x, width, epsilon, room);                    \
    local float* denominators = factors + n_heads * n_splits;                                    \
    if (source == SOURCE_PARTS)                                                                  \
      weigh_parts(x, n_heads, n_splits, head_dim, bias[0], weight, has_weight, factors,          \
                  denominators, denominators + n_heads);                                         \
    for (int base = 0; base < chunks; base += get_local_size(0) / 4) {                           \
      const int chunk = base + lane / 4;                                                         \
      const bool is_in = chunk < chunks;                                                         \
      const int first = chunk * 32 + lane % 4 * AT_ONCE;                                         \
      float y[AT_ONCE];                                                                          \
      float largest = 0;                                                                         \
      if (is_in && source == SOURCE_PARTS)                                                       \
        join_parts(x, n_splits, head_dim, width, factors, denominators, first, y);               \
      for (int i = 0; i < AT_ONCE; ++i) {                                                        \
        const int at = first + i;                                                                \
        if (source != SOURCE_PARTS || !is_in) {                                                  \
          y[i] = !is_in || at >= width         ? 0.0f                                            \
                 : source == SOURCE_ACTIVATION ? activated(activation, x[at], has_up ? up[at] : 1.0f) \
                                               : normalised(x[at], norm, kind, weight, bias, has_bias, at); \
        }                                                                                        \
        if (is_in && wants_floats) floats[(long)at] = y[i];                                      \
        largest = fmax(largest, fabs(y[i]));                                                     \
      }                                                                                          \
      room[lane] = largest;                                                                      \
      barrier(CLK_LOCAL_MEM_FENCE);                                                              \
      if (is_in && wants_quants) {                                                               \
        const int of = lane / 4 * 4;                                                             \
        largest = fmax(fmax(room[of], room[of + 1]), fmax(room[of + 2], room[of + 3]));          \
        const float inverse = largest > 0 ? 127.0f / largest : 0.0f;                             \
        int sum = 0;                                                                             \
        for (int i = 0; i < AT_ONCE; ++i) {                                                      \
          const int q = convert_int_rte(y[i] * inverse);                                         \
          quants[(long)first + i] = (char)q;                                                     \
          sum += q;                                                                              \
        }                                                                                        \
        counts[lane] = sum;                                                                      \
        if (lane % 4 == 0) scales[chunk] = largest / 127.0f;                                     \
      }                                                                                          \
      barrier(CLK_LOCAL_MEM_FENCE);                                                              \
      if (is_in && wants_quants && lane % 2 == 0)                                                \
        sums[(long)chunk * 2 + lane % 4 / 2] = (short)(counts[lane] + counts[lane + 1]);         \
    }                                                                                            \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                \
  }
