// The integer matrix product over packed weights, written once. After quad_sums.inl, and wanting
// besides:
//
//   kPackedTokens   tokens that pass together; divides kInputGroup
//   kTakesOffPairs  offsets are taken off in 16 bits: add_offset_quads() of pair_sums.inl is there
//   SubScale<Vec>   the whole scales of 16 rows' sub-blocks: Vec, or what scales sums of 16 bits as
//                   they are made wide: load_sub_scale() and widen() are of it
//   PanelQuad<is_byte>  how a quad, of 8 bits or less, lies in a panel: Bytes, or what has a
//                   put_quad() and dot_quads() of its own
//
// Integer sums are exact in any order; the float sum over chunks of 32 columns runs in rising
// order, whatever the number of tokens.

template <typename T, int kN>
struct List {
  T at[kN];
};
template <typename T>
struct List<T, 0> {};

// A chunk of 32 columns, unpacked, of 16 rows.
template <PackedFormat F, typename Quad>
struct Chunk {
  Quad quads[8];
  Vec scale;  // d; of a format with scales and one sub-block in a chunk, d times its scale
  [[no_unique_address]] List<SubScale<Vec>, F.subs() == 2 ? 2 : 0> sub_scales;
  [[no_unique_address]] List<Vec, F.has_minimums ? F.subs() : 0> minimums;
};

RUNNEL_INLINE void put_quad(const Bytes& from, Bytes& to) {
  RUNNEL_EACH_BYTE_PART to.part[i] = from.part[i];
}
RUNNEL_INLINE void put(Vec from, Vec& to) { RUNNEL_EACH_PART to.part[i] = from.part[i]; }
RUNNEL_INLINE void load_sub_scale(const std::int8_t* p, Vec& scale) { put(load_int16x8(p), scale); }

template <PackedFormat F, typename Quad>
RUNNEL_INLINE void load_chunk(const std::byte* bytes, Vec d, Vec m, Chunk<F, Quad>& chunk) {
  Bytes quads[8];
  load_weights<F>(bytes, quads);
  repeat<8>([&](int j) __attribute__((always_inline)) { put_quad(quads[j], chunk.quads[j]); });
  const auto* lists = reinterpret_cast<const std::int8_t*>(bytes + 64 * F.bits);
  constexpr bool kHasOneScale = F.has_scales && F.subs() == 1;
  put(kHasOneScale ? d * load_int16x8(lists) : d, chunk.scale);
  repeat<F.subs()>([&](int sub) __attribute__((always_inline)) {
    const std::int8_t* list = lists + sub * kGroupRows;
    if constexpr (F.subs() == 2) load_sub_scale(list, chunk.sub_scales.at[sub]);
    if constexpr (F.has_minimums)
      put(F.has_scales ? m * load_int16x8(list + F.subs() * kGroupRows) : m,
          chunk.minimums.at[sub]);
  });
}

// load(bytes, d, m) for each chunk of a group, with its block's d and m.
template <PackedFormat F, typename Load>
RUNNEL_INLINE void for_each_chunk(const std::byte* group, std::int64_t cols, Load load) {
  for (std::int64_t col = 0; col < cols; col += F.block, group += F.block_bytes()) {
    const auto* halves = reinterpret_cast<const std::uint16_t*>(group);
    const Vec d = F.is_e2m1 ? load_bfloat16(halves) : load_half16(halves);
    Vec minimum = splat(0);
    if constexpr (F.has_minimums) minimum = load_half16(halves + kGroupRows);
    if constexpr (!F.adds_minimum) minimum = splat(0) - minimum;
    const std::byte* bytes = group + F.head_bytes();
    for (int c = 0; c < F.block; c += 32, bytes += F.chunk_bytes()) load(bytes, d, minimum);
  }
}

// Of two sub-blocks, whether sums of 16 bits are scaled as they are made wide.
template <PackedFormat F>
constexpr bool kScalesPairs = F.subs() == 2 && !std::is_same_v<SubScale<Vec>, Vec>;

// The integer sums of T tokens, of sub-block `sub`, offsets taken off; scaled ones are added to
// those of the sub-blocks before.
template <PackedFormat F, int T, typename Quad>
RUNNEL_INLINE void dot_tokens(const Chunk<F, Quad>& chunk, int sub, const InputChunk* x,
                              Sums* sums) {
  constexpr int kQuads = 8 / F.subs();
  const Quad* quads = chunk.quads + sub * kQuads;
  const auto inputs = [&](int t) __attribute__((always_inline)) {
    return reinterpret_cast<const quad_word*>(x[t].q + sub * F.sub_block);
  };
  const auto x_sum = [&](int t) __attribute__((always_inline)) {
    return F.subs() == 2 ? x[t].half_sum(sub) : x[t].sum;
  };
  if (!kScalesPairs<F> || sub == 0)
    repeat<T>([&](int t) __attribute__((always_inline)) { sums[t] = splat_int(0); });
  if constexpr (!std::is_same_v<Quad, Bytes>) {
    dot_quads<kQuads, T>(sums, quads, inputs);
  } else if constexpr (!kTakesOffPairs) {
    dot_sub<F, T>(quads, inputs, x_sum, sums);
  } else {
    add_offset_quads<F.largest(), F.bits == 8 ? 0 : F.offset, kQuads, T>(
        sums, quads, inputs,
        [&](int t, int j, int run) __attribute__((always_inline)) {
          return x[t].pair_sums[run == 8 ? 2 : F.subs() == 2 ? sub : j / 4];
        },
        [&](auto pairs, int part) __attribute__((always_inline)) {
          if constexpr (kScalesPairs<F>) {
            return widen(pairs, chunk.sub_scales.at[sub], part);
          } else {
            return add_pairs(pairs);
          }
        });
  }
}

// The whole sums of T tokens as floats, which hold them: of two sub-blocks each times its scale,
// they stay below 2^24.
template <PackedFormat F, int T, typename Quad>
RUNNEL_INLINE void dot_chunk(const Chunk<F, Quad>& chunk, const InputChunk* x, Vec* whole) {
  Sums sums[T];
  repeat<F.subs()>([&](int sub) __attribute__((always_inline)) {
    dot_tokens<F, T>(chunk, sub, x, sums);
    if constexpr (F.subs() == 2 && !kScalesPairs<F>) {
      repeat<T>([&](int t) __attribute__((always_inline)) {
        const Vec before = sub == 0 ? splat(0) : whole[t];
        whole[t] = multiply_add(to_float(sums[t]), chunk.sub_scales.at[sub], before);
      });
    }
  });
  if constexpr (F.subs() == 1 || kScalesPairs<F>)
    repeat<T>([&](int t) __attribute__((always_inline)) { whole[t] = to_float(sums[t]); });
}

// Adds a chunk's part to the T tokens' sums.
template <PackedFormat F, int T, typename Quad>
RUNNEL_INLINE void multiply_chunk(const Chunk<F, Quad>& chunk, const InputChunk* x, Vec* acc) {
  Vec whole[T];
  dot_chunk<F, T>(chunk, x, whole);
  repeat<T>([&](int t) __attribute__((always_inline)) {
    acc[t] = multiply_add(whole[t], chunk.scale * splat(x[t].scale), acc[t]);
    if constexpr (F.has_minimums) {
      repeat<F.subs()>([&](int sub) __attribute__((always_inline)) {
        const float sum =
            F.subs() == 2 ? x[t].scale * static_cast<float>(x[t].half_sum(sub)) : x[t].scaled_sum;
        acc[t] = multiply_add(chunk.minimums.at[sub], splat(sum), acc[t]);
      });
    }
  });
}

// Few tokens are read by at memory's speed, where the processor has what they need asked for
// (asks_ahead.h): so many bytes ahead.
constexpr std::int64_t kWeightsAhead = 8 << 10;

// T tokens of one input group, by weights as they are packed.
template <PackedFormat F, int T>
static void packed_tokens(const Matmul& m, const std::byte* group, std::int64_t row, int token) {
  const bool asks = token == 0 && asks_ahead();
  const InputPlace place = input_place(token, m.n_tokens, m.w.cols);
  const InputChunk* x = reinterpret_cast<const InputChunk*>(m.inputs) + place.first;
  Vec acc[T];
  repeat<T>([&](int t) __attribute__((always_inline)) { acc[t] = splat(0); });
  for_each_chunk<F>(
      group,
      m.w.cols, [&](const std::byte* bytes, Vec d, Vec minimum) __attribute__((always_inline)) {
        if (asks)
          fetch_bytes(bytes + kWeightsAhead, static_cast<std::int64_t>(F.chunk_bytes()) + 1);
        Chunk<F, Bytes> chunk;
        load_chunk(bytes, d, minimum, chunk);
        multiply_chunk<F, T>(chunk, x, acc);
        x += place.stride;
      });
  store_sums<T>(m, row, token, acc);
}

// The same by unpacked ones; the first tokens ask for the next group, `next`.
template <PackedFormat F, int T, typename Quad>
static void panel_tokens(const Matmul& m, const Chunk<F, Quad>* panel, const std::byte* next,
                         std::int64_t row, int token) {
  // One byte more, for chunks may begin in the middle of a line.
  constexpr auto kBytes = static_cast<std::int64_t>(F.block_bytes() * 32 / F.block + 1);
  const InputPlace place = input_place(token, m.n_tokens, m.w.cols);
  const InputChunk* x = reinterpret_cast<const InputChunk*>(m.inputs) + place.first;
  Vec acc[T];
  repeat<T>([&](int t) __attribute__((always_inline)) { acc[t] = splat(0); });
  for (int t = 0; t < T; ++t) fetch_to_write(m.y + (token + t) * m.y_stride + row);
  const Chunk<F, Quad>* const end = panel + m.w.cols / 32;
  for (const Chunk<F, Quad>* chunk = panel; chunk != end; ++chunk, x += place.stride) {
    if (token == 0) {
      fetch_bytes(next, kBytes);
      next += kBytes;
    }
    multiply_chunk<F, T>(*chunk, x, acc);
  }
  store_sums<T>(m, row, token, acc);
}

// Tokens from which on weights are unpacked once for all.
constexpr int kPanelTokens = kInputGroup;

template <PackedFormat F>
static void panel_rows(const Matmul& m, const std::byte* group, std::int64_t row,
                       std::byte* scratch) {
  using PanelChunk = Chunk<F, PanelQuad<F.bits == 8>>;
  static_assert(sizeof(PanelChunk) <= sizeof(float) * kGroupRows * 32);
  auto* const panel = reinterpret_cast<PanelChunk*>(scratch);
  PanelChunk* chunk = panel;
  for_each_chunk<F>(
      group,
      m.w.cols, [&](const std::byte* bytes, Vec d, Vec minimum) __attribute__((always_inline)) {
        load_chunk(bytes, d, minimum, *chunk++);
      });
  const std::byte* const next = group + packed_group_bytes(F, m.w.cols);
  int token = 0;
  for (; m.n_tokens - token >= kInputGroup; token += kInputGroup) {
    for (int t = 0; t < kInputGroup; t += kPackedTokens)
      panel_tokens<F, kPackedTokens>(m, panel, next, row, token + t);
  }
  for (; m.n_tokens - token >= 4; token += 4) panel_tokens<F, 4>(m, panel, next, row, token);
  for (; token < m.n_tokens; ++token) panel_tokens<F, 1>(m, panel, next, row, token);
}

template <PackedFormat F>
static void packed_rows(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                        std::byte* scratch) {
  const std::size_t group_bytes = packed_group_bytes(F, m.w.cols);
  for (std::int64_t row = first_row; row < last_row; row += kGroupRows) {
    const std::byte* group = m.w.packed + static_cast<std::size_t>(row / kGroupRows) * group_bytes;
    if (m.n_tokens >= kPanelTokens) {
      panel_rows<F>(m, group, row, scratch);
      continue;
    }
    int token = 0;
    for (; m.n_tokens - token >= 4; token += 4) packed_tokens<F, 4>(m, group, row, token);
    for (; m.n_tokens - token >= 2; token += 2) packed_tokens<F, 2>(m, group, row, token);
    if (token < m.n_tokens) packed_tokens<F, 1>(m, group, row, token);
  }
}
