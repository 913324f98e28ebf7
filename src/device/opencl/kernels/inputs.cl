// What products take: 32 columns as int8 with a scale and the sums of their halves, or floats, or
// both. They come from a row's norm, from an activation, or from the parts of its attention; a
// product of one row makes them for itself in local memory, others read them where `prepare` left
// them. The same bits either way: LANES work-items in a fixed order.
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

// Mean (of layer norm) and factor of a row.
float2 norm_of(int kind, global const float* x, int width, float epsilon, local float* room) {
  if (kind == NORM_NONE) return (float2)(0.0f, 1.0f);
  const int lane = get_local_id(0);
  float mean = 0;
  if (kind == NORM_LAYER) {
    float sum = 0;
    for (int i = lane; lane < LANES && i < width; i += LANES) sum += x[i];
    mean = sum_of_lanes(sum, room, LANES) / (float)width;
  }
  float squares = 0;
  for (int i = lane; lane < LANES && i < width; i += LANES)
    squares = fma(x[i] - mean, x[i] - mean, squares);
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
// the softmax itself, one of the row and one learned for the head.
void weigh_parts(global const float* parts, int n_heads, int n_splits, int head_dim, float row_sink,
                 global const float* head_sinks, int has_head_sinks, local float* factors,
                 local float* denominators) {
  for (int head = get_local_id(0); head < n_heads; head += get_local_size(0)) {
    global const float* part = parts + (long)head * n_splits * (head_dim + 2);
    const float head_sink = has_head_sinks ? head_sinks[head] : -INFINITY;
    float maximum = fmax(row_sink, head_sink);
    for (int s = 0; s < n_splits; ++s) maximum = fmax(maximum, part[s * (head_dim + 2)]);
    float denominator = exp(row_sink - maximum) + exp(head_sink - maximum);
    for (int s = 0; s < n_splits; ++s) {
      const float factor = exp(part[s * (head_dim + 2)] - maximum);
      factors[head * n_splits + s] = factor;
      denominator = fma(part[s * (head_dim + 2) + 1], factor, denominator);
    }
    denominators[head] = denominator;
  }
}

float joined(global const float* parts, int n_splits, int head_dim, local const float* factors,
             local const float* denominators, int i) {
  const int head = i / head_dim;
  global const float* part = parts + (long)head * n_splits * (head_dim + 2) + 2 + i % head_dim;
  float sum = 0;
  for (int s = 0; s < n_splits; ++s)
    sum = fma(part[s * (head_dim + 2)], factors[head * n_splits + s], sum);
  return sum / denominators[head];
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

// Four work-items for each 32 columns; zeros fill up the last ones.
//   quants [chunks, 32]   scales [chunks]   sums [chunks, 2]   floats [chunks, 32]
#define PREPARE(NAME, SPACE)                                                                     \
  void NAME(SOURCE, int width, int chunks, int wants_quants, int wants_floats,                   \
            SPACE char* quants, SPACE float* scales, SPACE short* sums, SPACE float* floats,     \
            local float* room, local int* counts, local float* factors) {                        \
    const int lane = get_local_id(0);                                                            \
    float2 norm = (float2)(0.0f, 1.0f);                                                          \
    if (source == SOURCE_NORM) norm = norm_of(kind, x, width, epsilon, room);                    \
    local float* denominators = factors + n_heads * n_splits;                                    \
    if (source == SOURCE_PARTS) {                                                                \
      weigh_parts(x, n_heads, n_splits, head_dim, bias[0], weight, has_weight, factors,          \
                  denominators);                                                                 \
      barrier(CLK_LOCAL_MEM_FENCE);                                                              \
    }                                                                                            \
    for (int base = 0; base < chunks; base += LANES / 4) {                                       \
      const int chunk = base + lane / 4;                                                         \
      const bool is_in = lane < LANES && chunk < chunks;                                         \
      float y[8];                                                                                \
      float largest = 0;                                                                         \
      for (int i = 0; i < 8; ++i) {                                                              \
        const int at = chunk * 32 + lane % 4 * 8 + i;                                            \
        y[i] = 0;                                                                                \
        if (is_in && at < width) {                                                               \
          y[i] = source == SOURCE_ACTIVATION ? activated(activation, x[at], has_up ? up[at] : 1.0f) \
                 : source == SOURCE_PARTS                                                        \
                     ? joined(x, n_splits, head_dim, factors, denominators, at)                  \
                     : normalised(x[at], norm, kind, weight, bias, has_bias, at);                \
        }                                                                                        \
        if (is_in && wants_floats) floats[(long)at] = y[i];                                      \
        largest = fmax(largest, fabs(y[i]));                                                     \
      }                                                                                          \
      if (lane < LANES) room[lane] = largest;                                                    \
      barrier(CLK_LOCAL_MEM_FENCE);                                                              \
      if (is_in && wants_quants) {                                                                              \
        const int first = lane / 4 * 4;                                                          \
        largest = fmax(fmax(room[first], room[first + 1]), fmax(room[first + 2], room[first + 3])); \
        const float inverse = largest > 0 ? 127.0f / largest : 0.0f;                             \
        int sum = 0;                                                                             \
        for (int i = 0; i < 8; ++i) {                                                            \
          const int q = convert_int_rte(y[i] * inverse);                                         \
          quants[(long)chunk * 32 + lane % 4 * 8 + i] = (char)q;                                 \
          sum += q;                                                                              \
        }                                                                                        \
        counts[lane] = sum;                                                                      \
        if (lane % 4 == 0) scales[chunk] = largest / 127.0f;                                     \
      }                                                                                          \
      barrier(CLK_LOCAL_MEM_FENCE);                                                              \
      if (is_in && wants_quants && lane % 2 == 0)                                                                \
        sums[(long)chunk * 2 + lane % 4 / 2] = (short)(counts[lane] + counts[lane + 1]);         \
    }                                                                                            \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                \
  }
