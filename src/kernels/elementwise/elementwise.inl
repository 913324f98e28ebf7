// Norms, activations and other functions of whole vectors.

// Calls f(load) -> Vec for each 16 elements; the last ones alone.
template <typename F>
RUNNEL_INLINE void map(float* out, int n, F f) {
  int i = 0;
  for (; i + kTile <= n; i += kTile) store(out + i, f([i](const float* p) { return load(p + i); }));
  if (i < n) {
    const int rest = n - i;
    store_some(out + i, f([i, rest](const float* p) { return load_some(p + i, rest); }), rest);
  }
}
template <typename F>
RUNNEL_INLINE float sum(int n, F f) {
  Vec total = splat(0);
  int i = 0;
  for (; i + kTile <= n; i += kTile) total = total + f([i](const float* p) { return load(p + i); });
  if (i < n) {
    const int rest = n - i;
    total = total + f([i, rest](const float* p) { return load_some(p + i, rest); });
  }
  return sum_lanes(total);
}

static void rms_norm(const float* x, const float* weight, float epsilon, float* out, int n) {
  const float square_sum = sum(n, [x](auto at) { return at(x) * at(x); });
  const Vec scale = splat(1.0f / __builtin_sqrtf(square_sum / static_cast<float>(n) + epsilon));
  if (weight == nullptr) return map(out, n, [=](auto at) { return at(x) * scale; });
  map(out, n, [=](auto at) { return at(x) * scale * at(weight); });
}

static void layer_norm(const float* x, const float* weight, const float* bias, float epsilon,
                       float* out, int n) {
  const float mean = sum(n, [x](auto at) { return at(x); }) / static_cast<float>(n);
  float squares = 0;  // by hand: the padding of the last vector must not count
  {
    Vec total = splat(0);
    int i = 0;
    for (; i + kTile <= n; i += kTile) {
      const Vec centered = load(x + i) - splat(mean);
      total = multiply_add(centered, centered, total);
    }
    squares = sum_lanes(total);
    for (; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  }
  const Vec scale = splat(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + epsilon));
  map(out, n, [=](auto at) {
    Vec y = (at(x) - splat(mean)) * scale;
    if (weight != nullptr) y = y * at(weight);
    return bias != nullptr ? y + at(bias) : y;
  });
}

static void add(const float* x, float* y, int n) {
  map(y, n, [=](auto at) { return at(x) + at(y); });
}

static void silu(const float* gate, const float* up, float* out, int n) {
  if (up == nullptr) return map(out, n, [=](auto at) { return at(gate) * sigmoid(at(gate)); });
  map(out, n, [=](auto at) { return at(gate) * sigmoid(at(gate)) * at(up); });
}

RUNNEL_INLINE Vec gelu_of(Vec x) {
  const Vec inner = splat(0.79788456080286535588f) * x * (splat(1) + splat(0.044715f) * x * x);
  return splat(0.5f) * x * (splat(1) + tanh(inner));
}
static void gelu(const float* gate, const float* up, float* out, int n) {
  if (up == nullptr) return map(out, n, [=](auto at) { return gelu_of(at(gate)); });
  map(out, n, [=](auto at) { return gelu_of(at(gate)) * at(up); });
}

static void swiglu_oai(const float* gate, const float* up, float* out, int n) {
  map(out, n, [=](auto at) {
    const Vec g = min(at(gate), splat(7));
    const Vec u = max(min(at(up), splat(7)), splat(-7));
    return g * sigmoid(splat(1.702f) * g) * (u + splat(1));
  });
}

static void softcap(float* x, float cap, int n) {
  map(x, n, [=](auto at) { return splat(cap) * tanh(at(x) / splat(cap)); });
}

static float log_sum_exp(const float* x, int n) {
  const int whole = n / kTile * kTile;
  float rest[kTile];
  for (int j = 0; j < kTile; ++j) rest[j] = whole + j < n ? x[whole + j] : -__builtin_inff();
  Vec largest = load(rest);
  for (int i = 0; i < whole; i += kTile) largest = max(largest, load(x + i));
  const float maximum = max_lane(largest);
  Vec total = splat(0);
  for (int i = 0; i < whole; i += kTile) total = total + exp(load(x + i) - splat(maximum));
  return maximum + __builtin_logf(sum_lanes(total + exp(load(rest) - splat(maximum))));
}
