// Operations on whole rows: what products take, the residual stream, logits. One work-group of 64
// for a row.

#define ACTIVATION_NONE -1
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
    for (int i = lane; i < width; i += 64) sum += x[i];
    mean = sum_of_group(sum, room) / (float)width;
  }
  float squares = 0;
  for (int i = lane; i < width; i += 64) squares = fma(x[i] - mean, x[i] - mean, squares);
  squares = sum_of_group(squares, room);
  return (float2)(mean, 1.0f / sqrt(squares / (float)width + epsilon));
}

float normalised(float x, float2 norm, int kind, global const float* weight,
                 global const float* bias, int has_bias, int i) {
  if (kind == NORM_NONE) return x;
  const float y = (x - norm.x) * norm.y * weight[i];
  return has_bias ? y + bias[i] : y;
}

// out = norm(x), or out += scale * norm(x)
kernel void normalize_rows(global const float* x, global float* out, int width, int kind,
                      global const float* weight, global const float* bias, int has_bias,
                      float epsilon, int adds, float scale) {
  local float room[64];
  const long row = get_group_id(0);
  x += row * width;
  out += row * width;
  const float2 norm = norm_of(kind, x, width, epsilon, room);
  for (int i = get_local_id(0); i < width; i += 64) {
    const float y = normalised(x[i], norm, kind, weight, bias, has_bias, i);
    out[i] = adds ? out[i] + scale * y : y;
  }
}

// Inputs of products, from norm(x) or from act(x) * up: 32 columns as int8 with a scale and the sums
// of their halves, or floats, or both; zeros fill up the last chunk.
//   quants [rows, chunks, 32] int8   scales [rows, chunks]   sums [rows, chunks, 2] int16
//   floats [rows, chunks, 32]
kernel void prepare(global const float* x, int width, int chunks, int kind,
                    global const float* weight, global const float* bias, int has_bias,
                    float epsilon, int activation, global const float* up, int has_up,
                    int wants_quants, int wants_floats, global char* quants, global float* scales,
                    global short* sums, global float* floats) {
  local float room[64];
  const long row = get_group_id(0);
  x += row * width;
  up += row * width;
  const float2 norm = norm_of(kind, x, width, epsilon, room);
  for (int chunk = get_local_id(0); chunk < chunks; chunk += 64) {
    float y[32];
    float largest = 0;
    for (int i = 0; i < 32; ++i) {
      const int at = chunk * 32 + i;
      y[i] = 0;
      if (at < width) {
        y[i] = activation != ACTIVATION_NONE
                   ? activated(activation, x[at], has_up ? up[at] : 1.0f)
                   : normalised(x[at], norm, kind, weight, bias, has_bias, at);
      }
      largest = fmax(largest, fabs(y[i]));
    }
    const long place = row * chunks + chunk;
    if (wants_floats) {
      for (int i = 0; i < 32; ++i) floats[place * 32 + i] = y[i];
    }
    if (!wants_quants) continue;
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
    int halves[2] = {0, 0};
    for (int i = 0; i < 32; ++i) {
      const int q = convert_int_rte(y[i] * inverse);
      quants[place * 32 + i] = (char)q;
      halves[i / 16] += q;
    }
    scales[place] = largest / 127.0f;
    sums[place * 2] = (short)halves[0];
    sums[place * 2 + 1] = (short)halves[1];
  }
}

kernel void softcap(global float* x, float cap, int n) {
  const int i = get_global_id(0);
  if (i < n) x[i] = cap * tanh(x[i] / cap);
}

float router_score(global const float* logits, int expert, int is_sigmoid) {
  return is_sigmoid ? sigmoid(logits[expert]) : logits[expert];
}

// The n_used experts of each row with the largest scores (and bias), in order of expert, and their
// shares: a softmax of the logits, or sigmoids over their sum.
kernel void choose_experts(global const float* logits, int n_rows, int n_experts, int n_used,
                           int is_sigmoid, global const float* bias, int has_bias,
                           global int* chosen, global float* shares) {
  const int row = get_global_id(0);
  if (row >= n_rows) return;
  logits += (long)row * n_experts;
  chosen += (long)row * n_used;
  shares += (long)row * n_used;
  float largest = -INFINITY;
  for (int i = 0; i < n_used; ++i) {
    int best = -1;
    float best_score = 0;
    for (int e = 0; e < n_experts; ++e) {
      bool is_taken = false;
      for (int j = 0; j < i; ++j) is_taken |= chosen[j] == e;
      const float score = router_score(logits, e, is_sigmoid) + (has_bias ? bias[e] : 0.0f);
      if (!is_taken && (best < 0 || score > best_score)) best = e, best_score = score;
    }
    largest = fmax(largest, logits[best]);
    chosen[i] = best;
  }
  float sum = is_sigmoid ? 1e-6f : 0.0f;
  for (int i = 0; i < n_used; ++i) {
    sum += is_sigmoid ? router_score(logits, chosen[i], 1) : exp(logits[chosen[i]] - largest);
  }
  for (int i = 1; i < n_used; ++i) {
    const int expert = chosen[i];
    int j = i;
    for (; j > 0 && chosen[j - 1] > expert; --j) chosen[j] = chosen[j - 1];
    chosen[j] = expert;
  }
  for (int i = 0; i < n_used; ++i) {
    shares[i] =
        (is_sigmoid ? router_score(logits, chosen[i], 1) : exp(logits[chosen[i]] - largest)) / sum;
  }
}

// y[row] += sigmoid(gate[row]) * x[row]
kernel void add_gated(global const float* x, global const float* gates, int width,
                      global float* y) {
  const long row = get_global_id(1);
  const int i = get_global_id(0);
  if (i < width) y[row * width + i] += sigmoid(gates[row]) * x[row * width + i];
}

// y[row] = sum of the row's choices' outputs, each times its share.
kernel void join_experts(global const float* outputs, global const float* shares, int n_used,
                         int width, global float* y) {
  const long row = get_global_id(1);
  const int i = get_global_id(0);
  if (i >= width) return;
  float sum = 0;
  for (int c = 0; c < n_used; ++c)
    sum = fma(shares[row * n_used + c], outputs[(row * n_used + c) * width + i], sum);
  y[row * width + i] = sum;
}
