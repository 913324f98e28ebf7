// The integer matrix product over packed weights, written once. After quad_sums.inl, and wanting
// besides:
//
//   kPackedTokens   tokens that pass together; divides kInputGroup
//
// Integer sums are exact in any order; the float sum over chunks of 32 columns runs in rising
// order, whatever the number of tokens.

// One chunk of 32 columns: adds its part to the T tokens' sums.
template <PackedFormat F, int T>
RUNNEL_INLINE void multiply_chunk(const std::byte* chunk, Vec d, Vec m, const InputChunk* x,
                                  Vec* acc) {
  Bytes quads[8];
  load_weights<F>(chunk, quads);
  const auto* lists = reinterpret_cast<const std::int8_t*>(chunk + 64 * F.bits);
  repeat<F.subs()>([&](int sub) __attribute__((always_inline)) {
    Vec scale = d;
    Vec minimum = m;
    if constexpr (F.has_scales) {
      scale = scale * load_int16x8(lists + sub * kGroupRows);
      if constexpr (F.has_minimums)
        minimum = minimum * load_int16x8(lists + (F.subs() + sub) * kGroupRows);
    }
    const auto x_sum = [&](int t) __attribute__((always_inline)) {
      return F.subs() == 2 ? x[t].half_sums[sub] : x[t].sum;
    };
    Sums sums[T];
    dot_sub<F, T>(
        quads + sub * 8 / F.subs(),
        [&](int t) __attribute__((always_inline)) {
          return reinterpret_cast<const quad_word*>(x[t].q + sub * F.sub_block);
        },
        x_sum, sums);
    repeat<T>([&](int t) __attribute__((always_inline)) {
      acc[t] = multiply_add(to_float(sums[t]), scale * splat(x[t].scale), acc[t]);
      if constexpr (F.has_minimums) {
        const float sum =
            F.subs() == 2 ? x[t].scale * static_cast<float>(x_sum(t)) : x[t].scaled_sum;
        acc[t] = multiply_add(minimum, splat(sum), acc[t]);
      }
    });
  });
}

// Many tokens are so long over a line of weights that what the processor fetches by itself, a few
// lines ahead, comes too late.
constexpr std::int64_t kWeightsAhead = 8 << 10;

// T tokens of one input group; kStride: its size where that is known, else 0.
template <PackedFormat F, int T, int kStride>
static void packed_tokens(const Matmul& m, const std::byte* group, std::int64_t row, int token) {
  const InputPlace place = input_place(token, m.n_tokens, m.w.cols);
  const InputChunk* x = reinterpret_cast<const InputChunk*>(m.inputs) + place.first;
  const int stride = kStride != 0 ? kStride : place.stride;
  const bool asks_ahead = kStride != 0 && token == 0;  // who comes later finds them in cache
  Vec acc[T];
  repeat<T>([&](int t) __attribute__((always_inline)) { acc[t] = splat(0); });
  for (std::int64_t col = 0; col < m.w.cols; col += F.block, group += F.block_bytes()) {
    const auto* halves = reinterpret_cast<const std::uint16_t*>(group);
    const Vec d = F.is_e2m1 ? load_bfloat16(halves) : load_half16(halves);
    Vec minimum = splat(0);
    if constexpr (F.has_minimums) minimum = load_half16(halves + kGroupRows);
    if constexpr (!F.adds_minimum) minimum = splat(0) - minimum;
    const std::byte* chunk = group + F.head_bytes();
    for (int c = 0; c < F.block; c += 32, chunk += F.chunk_bytes(), x += stride) {
      // One byte more, for a chunk may begin in the middle of a line.
      if (asks_ahead)
        fetch_bytes(chunk + kWeightsAhead, static_cast<std::int64_t>(F.chunk_bytes()) + 1);
      multiply_chunk<F, T>(chunk, d, minimum, x, acc);
    }
  }
  store_sums<T>(m, row, token, acc);
}

template <PackedFormat F>
static void packed_rows(const Matmul& m, std::int64_t first_row, std::int64_t last_row) {
  const std::size_t group_bytes = packed_group_bytes(F, m.w.cols);
  for (std::int64_t row = first_row; row < last_row; row += kGroupRows) {
    const std::byte* group = m.w.packed + static_cast<std::size_t>(row / kGroupRows) * group_bytes;
    int token = 0;
    for (; m.n_tokens - token >= kInputGroup; token += kInputGroup) {
      for (int t = 0; t < kInputGroup; t += kPackedTokens) {
        packed_tokens<F, kPackedTokens, kInputGroup>(m, group, row, token + t);
      }
    }
    for (; m.n_tokens - token >= 4; token += 4) packed_tokens<F, 4, 0>(m, group, row, token);
    for (; m.n_tokens - token >= 2; token += 2) packed_tokens<F, 2, 0>(m, group, row, token);
    if (token < m.n_tokens) packed_tokens<F, 1, 0>(m, group, row, token);
  }
}
