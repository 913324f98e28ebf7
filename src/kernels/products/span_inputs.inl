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

// Where lanes of 4 numbers stand for vectors, and vectors for lanes.
RUNNEL_INLINE __m512i transpose_lanes(__m512i v) {
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  return _mm512_permutexvar_epi32(order, v);
}
// 64 whole numbers to bytes.
RUNNEL_INLINE __m512i to_bytes(const Vec* v) {
  const auto whole = [&](int i) __attribute__((always_inline)) {
    return _mm512_cvtps_epi32(v[i].part[0]);
  };
  return transpose_lanes(_mm512_packs_epi16(_mm512_packs_epi32(whole(0), whole(1)),
                                            _mm512_packs_epi32(whole(2), whole(3))));
}
// Sums of 16 columns each, of a span.
RUNNEL_INLINE void put_sums(const __m512i* bytes, std::int16_t* sums) {
  const auto fours = [&](int step) __attribute__((always_inline)) {
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes[step]);
  };
  // Of the lanes of two vectors each, then of four.
  const auto add_pairs = [](__m512i a, __m512i b) __attribute__((always_inline)) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  };
  const __m512i a = add_pairs(fours(0), fours(1));
  const __m512i b = add_pairs(fours(2), fours(3));
  const __m512i lanes = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums),
                      _mm512_cvtepi32_epi16(transpose_lanes(lanes)));
}

// A span of n columns of a token.
static void prepare_span(const float* x, int n, std::int64_t span, int token,
                         const SpanInputs<std::byte>& out) {
  const SpanInputs<std::byte> high = out.high();
  float largest[kSpanChunks];
  for (int i = 0; i < n; i += 32)
    largest[i / 32] = max_lane(max(sizes(load(x + i)), sizes(load(x + i + kTile))));
  const float range = span_range(largest, n / 32);
  bool has_high = false;
  for (int b = 0; b < n / 32; ++b) has_high = has_high || largest[b] > range;
  const Int8Scale scale = int8_scale(range);
  *out.scale(span, token) = scale.value;
  std::uint32_t steps = 0;
  __m512i low_bytes[4];
  __m512i high_bytes[4] = {};
  for (int step = 0; step < 4; ++step) {
    Vec low[4];
    Vec digits[4];
    for (int v = 0; v < 4; ++v) {
      const int i = step * 64 + v * kTile;
      low[v] = i < n ? round_times(load(x + i), scale.inverse) : splat(0);
      if (!has_high) continue;
      // The next whole number, and the upper one of two: what is left is -128 to 127.
      digits[v] = round_times(low[v] + splat(0.25f), splat(1.0f / kHighDigit));
      low[v] = low[v] - digits[v] * splat(kHighDigit);
    }
    low_bytes[step] = to_bytes(low);
    if (has_high) high_bytes[step] = to_bytes(digits);
    if (_mm512_test_epi8_mask(high_bytes[step], high_bytes[step]) != 0) steps |= 1u << step;
    _mm512_storeu_si512(out.q(span, step, token), low_bytes[step]);
    _mm512_storeu_si512(high.q(span, step, token), high_bytes[step]);
  }
  put_sums(low_bytes, out.sums(span, token));
  put_sums(high_bytes, high.sums(span, token));
  *high.steps(span, token) = steps;
}

static void prepare_spans(const float* x, std::int64_t cols, std::int64_t first, std::int64_t last,
                          int token, int n_tokens, std::byte* inputs) {
  const SpanInputs<std::byte> out = {inputs, n_tokens, n_spans(cols)};
  const std::int64_t end = last / 32 * 32;  // the rest belongs to weights that are not packed
  for (std::int64_t col = first; col < end; col += kSpan) {
    const std::int64_t left = end - col;
    prepare_span(x + col, static_cast<int>(left < kSpan ? left : kSpan), col / kSpan, token, out);
  }
}

constexpr auto kInt8GroupBytes = span_group_bytes;
constexpr auto kPackInt8 = pack_spans;
constexpr auto prepare_int8 = prepare_spans;

static std::size_t int8_input_bytes(std::int64_t cols, int n_tokens) {
  return static_cast<std::size_t>(2 * n_spans(cols) * kSpanInputBytes * n_tokens);
}
