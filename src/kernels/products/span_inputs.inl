// Inputs of products by weights in spans. After quad_sums.inl.

constexpr std::int64_t kInputColumns = kSpan;

static void prepare_spans(const float* x, std::int64_t cols, std::int64_t first, std::int64_t last,
                          int token, int n_tokens, std::byte* inputs) {
  const SpanInputs<std::byte> out = {inputs, n_tokens, n_spans(cols)};
  x += first;
  for (std::int64_t span = first / kSpan; span * kSpan < last; ++span, x += kSpan) {
    const std::int64_t left = cols - span * kSpan;
    const int n = static_cast<int>(left < kSpan ? left : kSpan);
    Vec largest = splat(0);
    for (int i = 0; i < n; i += kTile) largest = max(largest, sizes(load(x + i)));
    const Int8Scale scale = int8_scale(max_lane(largest));
    *out.scale(span, token) = scale.value;
    std::int16_t* sums = out.sums(span, token);
    for (int i = 0; i < kSpan; i += kTile) {
      auto* q = reinterpret_cast<std::int8_t*>(out.q(span, i / 64, token)) + i % 64;
      const Vec rounded = i < n ? round_times(load(x + i), scale.inverse) : splat(0);
      store_int8(q, rounded);
      sums[i / kTile] = static_cast<std::int16_t>(sum_lanes(rounded));  // exact
    }
  }
}

constexpr auto kInt8GroupBytes = span_group_bytes;
constexpr auto kPackInt8 = pack_spans;
constexpr auto prepare_int8 = prepare_spans;

static std::size_t int8_input_bytes(std::int64_t cols, int n_tokens) {
  return static_cast<std::size_t>(n_spans(cols) * kSpanInputBytes * n_tokens);
}
