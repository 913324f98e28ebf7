// Operations on whole rows: what products take, the residual stream, logits. One work-group of LANES
// for a row.

PREPARE(prepare_row, global)

// out = norm(x), or out = (out + scale * norm(x)) * sum_scale
kernel void normalize_rows(global const float* x, global float* out, int width, int kind,
                      global const float* weight, global const float* bias, int has_bias,
                      float epsilon, int adds, float scale, float sum_scale) {
  local float room[LANES];
  const long row = get_group_id(0);
  x += row * width;
  out += row * width;
  const float2 norm = norm_of(kind, x, width, epsilon, room);
  for (int i = get_local_id(0); i < width; i += LANES) {
    const float y = normalised(x[i], norm, kind, weight, bias, has_bias, i);
    out[i] = adds ? (out[i] + scale * y) * sum_scale : y;
  }
}

// Inputs of products (inputs.cl) for each row: quants [rows, chunks, 32] and so on.
kernel void prepare(SOURCE, int width, int chunks, int wants_quants, int wants_floats,
                    global char* quants, global float* scales, global short* sums,
                    global float* floats, local float* factors) {
  local float room[LANES];
  local int counts[LANES];
  const long row = get_group_id(0);
  const long place = row * chunks;
  prepare_row(SOURCE_OF(row), width, chunks, wants_quants, wants_floats, quants + place * 32,
              scales + place, sums + place * 2, floats + (wants_floats ? place * 32 : 0), room,
              counts, factors);
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
                           global const float* expert_scales, int has_expert_scales,
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
    if (has_expert_scales) shares[i] *= expert_scales[chosen[i]];
  }
}

// x = (x + y) / sqrt(2)
kernel void join_layer_inputs(global float* x, global const float* y, int n) {
  const int i = get_global_id(0);
  if (i < n) x[i] = (x[i] + y[i]) / 1.41421356237309504880f;
}

// out[row] = x[row, first .. first + width)
kernel void take_columns(global const float* x, int all_columns, int first, int width,
                         global float* out) {
  const long row = get_global_id(1);
  const int i = get_global_id(0);
  if (i < width) out[row * width + i] = x[row * all_columns + first + i];
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
