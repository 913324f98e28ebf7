// Products of weights in spans (spans.h) on the matrix unit. Rows of C are tokens, its columns rows
// of the weights, of which two groups pass together:
//
//   C [2 groups][2 digits][16][16] int32  =  A [16][span] int8  *  B [2 groups][2 digits][span][16]
//
// Taking a C out costs as much as a product, so four are
// kept for a span, and the sums of one group of tokens become floats while the next is multiplied.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBSSD, TDPBSUD.

struct SpanScratch {
  SlabSums sums;
  std::byte panel[2][2][4][kTileBytes];  // of groups and digits: 64 columns of 16 rows each
  std::int32_t c[2][2][2][kTileRows][kGroupRows];  // of this and the last tokens
  float d[2][kGroupRows];
};

// A span of a group to digits. `group` is where it begins.
template <PackedFormat F>
static void fill_digits(const std::byte* group, int n_chunks, std::byte (*panel)[4][kTileBytes]) {
  for (int c = 0; c < 2 * ((n_chunks + 1) / 2); ++c) {
    std::byte* high = panel[0][c / 2] + c % 2 * kTileBytes / 2;
    std::byte* low = panel[1][c / 2] + c % 2 * kTileBytes / 2;
    put_chunk<F>(group, c, n_chunks, high, low);
  }
}

// A group of tokens whose C is to be added to their sums.
struct Taken {
  const std::int32_t (*c)[2][kTileRows][kGroupRows];  // [2 groups of rows]
  const float* scales;
  float digit;  // 1, or what a high one stands for
  float (*sums)[2 * kGroupRows];
};

template <bool kTwoGroups, Digits kDigits>
RUNNEL_INLINE void add_token(const Taken& taken, const SpanScratch& s, int t) {
  const Vec scale = splat(taken.digit * taken.scales[t]);
  for (int group = 0; group <= (kTwoGroups ? 1 : 0); ++group) {
    const __m512i high = _mm512_load_si512(taken.c[group][0][t]);
    const __m512i low = _mm512_load_si512(taken.c[group][1][t]);
    const Sums whole = whole_of<kDigits>(high, low);
    float* sum = taken.sums[t] + group * kGroupRows;
    store(sum, multiply_add(to_float(whole), load(s.d[group]) * scale, load(sum)));
  }
}

// Multiplies steps of a span of n tokens, a bit of `steps` each; between products f(0), f(1), ...
// f(15) are called where all four are taken.
constexpr unsigned kAllSteps = 15;
template <bool kTwoGroups, Digits kDigits, typename F>
RUNNEL_INLINE void multiply_span(const std::byte* q, int n, unsigned steps, const SpanScratch& s,
                                 std::int32_t (*c)[2][kTileRows][kGroupRows], F f) {
  order_memory();
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kTwoGroups) {
    _tile_zero(2);
    _tile_zero(3);
  }
  const auto take_step = [&](int step) __attribute__((always_inline)) {
    _tile_loadd(4, q + step * n * 64, 64);
    _tile_loadd(5, s.panel[0][0][step], 64);
    _tile_dpbssd(0, 4, 5);
    f(4 * step);
    _tile_loadd(6, s.panel[0][1][step], 64);
    RUNNEL_MULTIPLY_LOW(1, 4, 6);
    f(4 * step + 1);
    if constexpr (kTwoGroups) {
      _tile_loadd(7, s.panel[1][0][step], 64);
      _tile_dpbssd(2, 4, 7);
    }
    f(4 * step + 2);
    if constexpr (kTwoGroups) {
      _tile_loadd(5, s.panel[1][1][step], 64);
      RUNNEL_MULTIPLY_LOW(3, 4, 5);
    }
    f(4 * step + 3);
  };
  if (steps == kAllSteps) {
    repeat<4>(take_step);
  } else {
    for (int step = 0; step < 4; ++step) {
      if ((steps >> step & 1) != 0) take_step(step);
    }
  }
  order_memory();
  _tile_stored(0, c[0][0], 64);
  _tile_stored(1, c[0][1], 64);
  if constexpr (kTwoGroups) {
    _tile_stored(2, c[1][0], 64);
    _tile_stored(3, c[1][1], 64);
  }
  order_memory();
}

// What is fetched while tokens pass, a little with each group of them: the weights of the next
// span, and where the sums will go.
struct Ahead {
  const std::byte* weights[2];
  std::int64_t n_bytes;
  float* y;  // of the first token
  std::int64_t y_stride;
  int span;  // of n_spans of the slab
  int n_spans;

  // For group i of n_groups, of n_tokens.
  RUNNEL_MEMBER void fetch_part(int i, int n_groups, int n_tokens) const {
    for (std::int64_t at = i * 64; at < n_bytes; at += n_groups * 64) {
      fetch(weights[0] + at);
      fetch(weights[1] + at);
    }
    for (int t = span; t < n_tokens; t += n_spans) {
      float* const line = y + (i * kTileRows + t) * y_stride;
      fetch_to_write(line);
      fetch_to_write(line + kTile);
    }
  }
};

// The tokens [first, last), in groups of n for which tiles are shaped, past a panel of one span.
// `sums` are the first one's.
template <bool kTwoGroups, Digits kDigits>
static void pass_tokens(const Matmul& m, std::int64_t span, int n_steps, int first, int last, int n,
                        float (*sums)[2 * kGroupRows], const Ahead& ahead, SpanScratch& s) {
  const SpanInputs<const std::byte> x = {m.inputs, m.n_tokens, n_spans(m.w.cols)};
  const SpanInputs<const std::byte> high = x.high();
  Taken before = {};
  int turn = 0;
  for (int token = first; token < last; token += n) {
    ahead.fetch_part((token - first) / kTileRows, (last - first + kTileRows - 1) / kTileRows, n);
    for (int digit = 0; digit < 2; ++digit) {
      const unsigned steps =
          digit == 0 ? (1u << n_steps) - 1 : steps_of(high.steps(span, token), n);
      if (steps == 0) continue;
      const Taken taken = {s.c[turn % 2], x.scale(span, token),
                           digit == 0 ? 1.0f : static_cast<float>(kHighDigit),
                           sums + (token - first)};
      const auto multiply = [&](auto f) __attribute__((always_inline)) {
        multiply_span<kTwoGroups, kDigits>((digit == 0 ? x : high).q(span, 0, token), n, steps, s,
                                           s.c[turn % 2], f);
      };
      if (turn > 0 && steps == kAllSteps && n == kTileRows) {
        multiply([&](int t) __attribute__((always_inline)) {
          add_token<kTwoGroups, kDigits>(before, s, t);
          order_memory();
        });
      } else {
        for (int t = 0; turn > 0 && t < n; ++t) add_token<kTwoGroups, kDigits>(before, s, t);
        multiply([](int) {});
      }
      before = taken;
      ++turn;
    }
  }
  for (int t = 0; t < n; ++t) add_token<kTwoGroups, kDigits>(before, s, t);
}

// Tiles for groups of n tokens.
static void shape_span_tiles(int n) {
  TileShapes shapes;
  for (int tile = 0; tile < 4; ++tile) shapes.set(tile, n, kGroupRows);
  shapes.set(4, n, 16);
  for (int tile = 5; tile < 8; ++tile) shapes.set(tile, 16, kGroupRows);
  order_memory();
  _tile_loadconfig(&shapes);
}

// The columns [first_col, last_col) of up to 32 rows for the tokens [first, last).
template <PackedFormat F>
static void multiply_spans(const Matmul& m, std::int64_t row, int n_rows, std::int64_t first_col,
                           std::int64_t last_col, int first, int last, SpanScratch& s) {
  const std::size_t group_bytes = span_group_bytes_of(F, m.w.cols);
  const std::byte* groups = m.w.packed + static_cast<std::size_t>(row / kGroupRows) * group_bytes;
  const bool two = n_rows > kGroupRows;
  const int whole = last - (last - first) % kTileRows;  // the tokens before are in full groups
  begin_sums(m, row, n_rows, first_col == 0, first, last, s.sums);
  const auto weights_at = [&](std::int64_t group, std::int64_t col) {
    return groups + static_cast<std::size_t>(group) * group_bytes + span_group_bytes_of(F, col);
  };
  for (std::int64_t col = first_col; col < last_col; col += kSpan) {
    const std::int64_t n_cols = last_col - col < kSpan ? last_col - col : kSpan;
    for (int group = 0; group <= (two ? 1 : 0); ++group) {
      const std::byte* at = weights_at(group, col);
      store(s.d[group], load(reinterpret_cast<const float*>(at)));
      fill_digits<F>(at, static_cast<int>(n_cols / 32), s.panel[group]);
    }
    const bool is_last = col + kSpan >= last_col;
    const std::int64_t next_group = is_last ? 2 : 0;
    const std::int64_t next_col = is_last ? first_col : col + kSpan;
    Ahead ahead = {
        .weights = {weights_at(next_group, next_col), weights_at(next_group + 1, next_col)},
        .n_bytes = static_cast<std::int64_t>(span_group_bytes_of(F, kSpan)),
        .y_stride = m.y_stride,
        .span = static_cast<int>((col - first_col) / kSpan),
        .n_spans = static_cast<int>((last_col - first_col + kSpan - 1) / kSpan)};
    const auto pass = [&](int from, int to, int n) {
      if (from == to) return;
      if (col == first_col || (first < whole && whole < last)) shape_span_tiles(n);
      const int n_steps = static_cast<int>((n_cols + 63) / 64);
      ahead.y = m.y + from * m.y_stride + row;
      (two ? pass_tokens<true, digits_of(F)>
           : pass_tokens<false, digits_of(F)>)(m, col / kSpan, n_steps, from, to, n,
                                               s.sums + (from - first), ahead, s);
    };
    pass(first, whole, kTileRows);
    pass(whole, last, last - whole);
  }
  keep_sums(m, row, n_rows, last_col == m.w.cols, first, last, s.sums);
}

template <PackedFormat F>
static void span_tiles(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                       std::byte* scratch) {
  static_assert(sizeof(SpanScratch) <= kLeastScratchBytes);
  auto& s = *reinterpret_cast<SpanScratch*>(scratch);
  for_each_slab(
      m, first_row, last_row, kSpan, 1,
      [&](std::int64_t row, int n_rows, std::int64_t first_col, std::int64_t last_col, int first,
          int last) { multiply_spans<F>(m, row, n_rows, first_col, last_col, first, last, s); });
  _tile_release();
}

// From so many tokens on, digits are sooner made than weights multiplied without: those of numbers
// with minimums take longer.
constexpr int least_tile_tokens(const PackedFormat& format) { return format.has_minimums ? 5 : 3; }

template <PackedFormat F>
static void span_products(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                          std::byte* scratch) {
  if (m.n_tokens < least_tile_tokens(F)) {
    span_rows<F>(m, first_row, last_row);
  } else if (m.n_tokens <= kFewTokens) {
    few_span_tiles<F>(m, first_row, last_row, scratch);
  } else {
    span_tiles<F>(m, first_row, last_row, scratch);
  }
}
