// Products of weights in spans (spans.h) without the matrix unit: its sums are whole numbers, so
// these are equal to the bit. After quad_sums.inl.

RUNNEL_INLINE Sums widen_int8(const std::int8_t* p) {
  return {(native_int)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
RUNNEL_INLINE Sums widen_int16(const std::byte* p) {
  return {
      (native_int)_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
// List s or n of sub-block `sub` of a chunk, all of them one after the other from `lists`.
template <PackedFormat F>
RUNNEL_INLINE Sums scales_of(const std::byte* lists, int sub) {
  if constexpr (in_spans(F).is_wide) return widen_int16(lists + 2 * sub * kGroupRows);
  const std::byte* p = lists + sub * kGroupRows;
  if constexpr (!is_unsigned(F)) return widen_int8(reinterpret_cast<const std::int8_t*>(p));
  return {(native_int)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
template <PackedFormat F>
RUNNEL_INLINE Sums minimums_of(const std::byte* lists, int sub) {
  const int list = F.subs() + sub;
  if constexpr (in_spans(F).is_wide) return widen_int16(lists + 2 * list * kGroupRows);
  return widen_int8(reinterpret_cast<const std::int8_t*>(lists) + list * kGroupRows);
}
RUNNEL_INLINE void add_product(Sums& sums, const Sums& a, const Sums& b) {
  sums.part[0] += a.part[0] * b.part[0];
}

// A chunk of a span: the T tokens' sums times s, and n times the sums of inputs' digits.
template <PackedFormat F, int T>
RUNNEL_INLINE void add_chunk(const std::byte* chunk, const SpanInputs<const std::byte>& x,
                             std::int64_t span, int c, int token, Sums* scaled, Sums* minimums) {
  Bytes quads[8];
  load_weights<F>(chunk, quads);
  const std::byte* lists = chunk + 64 * F.bits;
  repeat<F.subs()>([&](int sub) __attribute__((always_inline)) {
    const Sums s = scales_of<F>(lists, sub);
    const auto x_sum = [&](int t) __attribute__((always_inline))->std::int32_t {
      const std::int16_t* halves = x.sums(span, token + t) + 2 * c;
      return F.subs() == 2 ? halves[sub] : halves[0] + halves[1];
    };
    Sums sums[T];
    dot_sub<F, T>(
        quads + sub * 8 / F.subs(),
        [&](int t) __attribute__((always_inline)) {
          const auto* q = reinterpret_cast<const std::int8_t*>(x.q(span, c / 2, token + t));
          return reinterpret_cast<const quad_word*>(q + c % 2 * 32 + sub * F.sub_block);
        },
        x_sum, sums);
    repeat<T>([&](int t) __attribute__((always_inline)) {
      add_product(scaled[t], sums[t], s);
      if constexpr (F.has_minimums)
        add_product(minimums[t], minimums_of<F>(lists, sub), splat_int(x_sum(t)));
    });
  });
}

// What a span adds to tokens' sums, of one digit of inputs: of all chunks, or of those of `steps`.
template <PackedFormat F, int T>
RUNNEL_INLINE void add_span(const std::byte* group, int n_chunks, unsigned steps, bool asks_ahead,
                            const SpanInputs<const std::byte>& x, std::int64_t span, int token,
                            const Vec* scales, Vec* acc) {
  const std::byte* chunk = group + span_head_bytes(F);
  Sums scaled[T] = {};
  Sums minimums[T] = {};
  for (int c = 0; c < n_chunks; ++c, chunk += in_spans(F).chunk_bytes()) {
    if (asks_ahead)
      fetch_bytes(chunk + kFetchAhead, static_cast<std::int64_t>(in_spans(F).chunk_bytes()));
    if ((steps >> c / 2 & 1) != 0) add_chunk<F, T>(chunk, x, span, c, token, scaled, minimums);
  }
  const Vec d = load(reinterpret_cast<const float*>(group));
  repeat<T>([&](int t) __attribute__((always_inline)) {
    Sums sums = scaled[t];
    if constexpr (in_spans(F).is_wide) {
      sums.part[0] -= minimums[t].part[0];
    } else if constexpr (F.has_minimums) {
      const std::byte* g = group + sizeof(float) * kGroupRows;
      sums.part[0] = scaled[t].part[0] * widen_int16(g).part[0] -
                     minimums[t].part[0] * widen_int16(g + 2 * kGroupRows).part[0];
    }
    acc[t] = multiply_add(to_float(sums), d * scales[t], acc[t]);
  });
}

template <PackedFormat F, int T>
static void span_tokens(const Matmul& m, const std::byte* group, std::int64_t row, int token) {
  const SpanInputs<const std::byte> x = {m.inputs, m.n_tokens, n_spans(m.w.cols)};
  const SpanInputs<const std::byte> high = x.high();
  Vec acc[T];
  repeat<T>([&](int t) __attribute__((always_inline)) { acc[t] = splat(0); });
  for (std::int64_t span = 0; span * kSpan < m.w.cols; ++span) {
    const std::int64_t left = (m.w.cols - span * kSpan) / 32;
    const int n_chunks = static_cast<int>(left < kSpanChunks ? left : kSpanChunks);
    unsigned steps = 0;  // with a high digit
    for (int t = 0; t < T; ++t) steps |= *high.steps(span, token + t);
    for (int digit = 0; digit <= (steps != 0 ? 1 : 0); ++digit) {
      Vec scales[T];
      repeat<T>([&](int t) __attribute__((always_inline)) {
        const float scale = *x.scale(span, token + t);
        scales[t] = splat(digit == 0 ? scale : kHighDigit * scale);
      });
      add_span<F, T>(group, n_chunks, digit == 0 ? ~0u : steps, digit == 0 && token == 0,
                     digit == 0 ? x : high, span, token, scales, acc);
    }
    group += span_head_bytes(F) + static_cast<std::size_t>(n_chunks) * in_spans(F).chunk_bytes();
  }
  store_sums<T>(m, row, token, acc);
}

template <PackedFormat F>
static void span_rows(const Matmul& m, std::int64_t first_row, std::int64_t last_row) {
  const std::size_t group_bytes = span_group_bytes_of(F, m.w.cols);
  for (std::int64_t row = first_row; row < last_row; row += kGroupRows) {
    const std::byte* group = m.w.packed + static_cast<std::size_t>(row / kGroupRows) * group_bytes;
    int t = 0;
    for (; m.n_tokens - t >= 4; t += 4) span_tokens<F, 4>(m, group, row, t);
    for (; m.n_tokens - t >= 2; t += 2) span_tokens<F, 2>(m, group, row, t);
    if (t < m.n_tokens) span_tokens<F, 1>(m, group, row, t);
  }
}
