// Inputs of products by weights in spans. After quad_sums.inl.

constexpr std::int64_t kInputColumns = kSpan;

// Of a span whose blocks of 32 columns have such largest numbers: what 127 stands for. The largest
// of the steps of 64 columns; but of those that stand out, some times the mean, it is left to a
// second digit.
constexpr float kStandsOut = 1.4f;
RUNNEL_INLINE float span_range(const float* largest, int n_blocks) {
  float most = 0;
  float squares = 0;
  for (int b = 0; b < n_blocks; ++b) {
    most = largest[b] < most ? most : largest[b];
    squares += largest[b] * largest[b];
  }
  const float bound = kStandsOut * __builtin_sqrtf(squares / static_cast<float>(n_blocks));
  if (!(most > bound)) return most;
  float range = most / kHighDigit;  // so that two digits hold the largest
  for (int b = 0; b < n_blocks; b += 2) {
    const float other = b + 1 < n_blocks ? largest[b + 1] : 0;
    const float step = largest[b] < other ? other : largest[b];
    if (step <= bound && step > range) range = step;
  }
  return range;
}

// 16 columns from `i` of a span; whether there is one that is not 0.
RUNNEL_INLINE bool put_digit(const SpanInputs<std::byte>& out, std::int64_t span, int i, int token,
                             Vec digits) {
  store_int8(reinterpret_cast<std::int8_t*>(out.q(span, i / 64, token)) + i % 64, digits);
  out.sums(span, token)[i / kTile] = static_cast<std::int16_t>(sum_lanes(digits));  // exact
  return max_lane(sizes(digits)) > 0;
}

static void prepare_spans(const float* x, std::int64_t cols, std::int64_t first, std::int64_t last,
                          int token, int n_tokens, std::byte* inputs) {
  const SpanInputs<std::byte> out = {inputs, n_tokens, n_spans(cols)};
  const SpanInputs<std::byte> high = out.high();
  x += first;
  for (std::int64_t span = first / kSpan; span * kSpan < last; ++span, x += kSpan) {
    const std::int64_t left = cols - span * kSpan;
    const int n = static_cast<int>(left < kSpan ? left : kSpan);
    float largest[kSpanChunks];
    for (int i = 0; i < n; i += 32)
      largest[i / 32] = max_lane(max(sizes(load(x + i)), sizes(load(x + i + kTile))));
    const Int8Scale scale = int8_scale(span_range(largest, n / 32));
    *out.scale(span, token) = scale.value;
    std::uint32_t steps = 0;
    for (int i = 0; i < kSpan; i += kTile) {
      const Vec rounded = i < n ? round_times(load(x + i), scale.inverse) : splat(0);
      // The next whole number, and the upper one of two: what is left is -128 to 127.
      const Vec digit = round_times(rounded + splat(0.25f), splat(1.0f / kHighDigit));
      put_digit(out, span, i, token, rounded - digit * splat(kHighDigit));
      if (put_digit(high, span, i, token, digit)) steps |= 1u << i / 64;
    }
    *high.steps(span, token) = steps;
  }
}

constexpr auto kInt8GroupBytes = span_group_bytes;
constexpr auto kPackInt8 = pack_spans;
constexpr auto prepare_int8 = prepare_spans;

static std::size_t int8_input_bytes(std::int64_t cols, int n_tokens) {
  return static_cast<std::size_t>(2 * n_spans(cols) * kSpanInputBytes * n_tokens);
}
