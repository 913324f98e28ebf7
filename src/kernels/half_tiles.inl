// Half-precision weights on tiles: a panel of them becomes bfloat16 once, in cache, and all tokens
// pass over it. A = weights, as they lie; B = inputs: rows of C are rows of the weights, its
// columns are tokens.

constexpr int kPanelTiles = 8;  // of 32 columns
constexpr std::int64_t kPanelColumns = kPanelTiles * kTileDepth;
constexpr int kSumsStride = kSlabTokens + kTile;  // rows begin in different sets of the cache

struct HalfScratch {
  float sums[2 * kTileRows][kSumsStride];
  std::byte panel[2][kPanelTiles][kTileBytes];  // of 16 rows each
};

// Inputs follow the int8 inputs: of all tokens one panel's columns after the other, in groups of
// kTileRows, [panels][groups][8] tiles of B. Columns of tokens that are not there are never read.
static std::byte* half_inputs(std::byte* inputs, std::int64_t col, int token, int n_tokens,
                              std::int64_t cols) {
  const std::int64_t n_groups = (n_tokens + kTileRows - 1) / kTileRows;
  const std::int64_t tile = (col / kPanelColumns * n_groups + token / kTileRows) * kPanelTiles +
                            col % kPanelColumns / kTileDepth;
  return inputs + n_tokens * n_spans(cols) * kSpanInputBytes + tile * kTileBytes +
         token % kTileRows * 4;
}
static std::size_t half_input_bytes(std::int64_t cols, int n_tokens) {
  const std::int64_t n_panels = (cols + kPanelColumns - 1) / kPanelColumns;
  const std::int64_t n_groups = (n_tokens + kTileRows - 1) / kTileRows;
  return static_cast<std::size_t>(n_panels * n_groups * kPanelTiles * kTileBytes);
}

static void prepare_halves(const float* x, std::int64_t cols, int token, int n_tokens,
                           std::byte* inputs) {
  const __m512i rows = _mm512_slli_epi32(_mm512_cvtps_epi32((__m512)lane_numbers().part[0]), 6);
  for (std::int64_t col = 0; col < cols; col += kTileDepth) {
    _mm512_i32scatter_epi32(half_inputs(inputs, col, token, n_tokens, cols), rows,
                            narrow_some(x + col, cols - col), 1);
  }
}

// Row n's lane p to lane n of row p.
RUNNEL_INLINE void transpose(__m512i* rows) {
  __m512i t[16];
  repeat<8>([&](int i) __attribute__((always_inline)) {
    t[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  });
  repeat<4>([&](int i) __attribute__((always_inline)) {
    rows[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    rows[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    rows[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    rows[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  });
  repeat<4>([&](int i) __attribute__((always_inline)) {
    t[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
  });
  repeat<8>([&](int i) __attribute__((always_inline)) {
    rows[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  });
}

// Sums of 16 rows and up to 16 tokens between y [token][row] and scratch [row][token].
static void load_square(const float* y, std::int64_t y_stride, int n_rows, int n_tokens,
                        float* sums) {
  __m512i square[kTileRows];
  for (int t = 0; t < kTileRows; ++t)
    square[t] = t < n_tokens ? (__m512i)load_first(y + t * y_stride, n_rows).part[0]
                             : _mm512_setzero_si512();
  transpose(square);
  for (int r = 0; r < kTileRows; ++r) _mm512_storeu_si512(sums + r * kSumsStride, square[r]);
}
static void store_square(const float* sums, const float* bias, int n_rows, int n_tokens, float* y,
                         std::int64_t y_stride) {
  __m512i square[kTileRows];
  for (int r = 0; r < kTileRows; ++r) square[r] = _mm512_loadu_si512(sums + r * kSumsStride);
  transpose(square);
  const Vec added = bias != nullptr ? load_first(bias, n_rows) : splat(0);
  for (int t = 0; t < n_tokens; ++t) {
    Vec sum = {(native)square[t]};
    if (bias != nullptr) sum = sum + added;
    store_first(y + t * y_stride, sum, n_rows);
  }
}

// 16 rows of half-precision weights, as stored, to tiles of A; rows past the matrix and columns
// past it are 0. Meanwhile the 16 rows after the next are fetched, end to end: rows side by
// side are as many streams, which memory gives slowly.
static void fill_half_tiles(const Matrix& w, std::int64_t row, std::int64_t first_col,
                            std::int64_t n_cols, std::byte* tiles) {
  const auto* data = reinterpret_cast<const std::uint16_t*>(w.data);
  const auto* next = reinterpret_cast<const std::byte*>(data + (row + 2 * kTileRows) * w.cols +
                                                        first_col * kTileRows);
  const int n_rows = of_half(0, w.rows - row);
  for (int r = 0; r < kTileRows; ++r) {
    const std::uint16_t* from = data + (row + (r < n_rows ? r : 0)) * w.cols + first_col;
    std::byte* to = tiles + r * 64;
    for (std::int64_t col = 0; col < n_cols; col += kTileDepth, to += kTileBytes, next += 64) {
      fetch(next);
      const std::int64_t n = r < n_rows ? n_cols - col : 0;
      const auto mask = static_cast<__mmask32>(n >= 32 ? ~0u : (1u << n) - 1);
      const __m512i halves = _mm512_maskz_loadu_epi16(mask, from + col);
      const bool is_bfloat = w.type == TensorType::kBF16;
      _mm512_store_si512(to, is_bfloat ? halves : half_to_bfloat(halves));
    }
  }
}

// The columns [first_col, last_col) of up to 32 rows for the tokens [first, last).
static void multiply_columns(const Matmul& m, std::int64_t row, int n_rows, std::int64_t first_col,
                             std::int64_t last_col, int first, int last, HalfScratch& s,
                             TileUnit& unit) {
  const int n_tokens = last - first;
  const auto each_square = [&](auto f) {
    for (int half = 0; half < 2 && of_half(half, n_rows) > 0; ++half) {
      for (int t = 0; t < n_tokens; t += kTileRows) {
        f(row + half * kTileRows, of_half(half, n_rows), first + t, of_half(0, n_tokens - t),
          &s.sums[half * kTileRows][t]);
      }
    }
  };
  if (first_col > 0) {
    each_square([&](std::int64_t at, int rows, int token, int tokens, float* sums) {
      load_square(m.y + token * m.y_stride + at, m.y_stride, rows, tokens, sums);
    });
  }
  for (std::int64_t col = first_col; col < last_col; col += kPanelColumns) {
    const std::int64_t n_cols = last_col - col < kPanelColumns ? last_col - col : kPanelColumns;
    for (int half = 0; half < 2 && of_half(half, n_rows) > 0; ++half)
      fill_half_tiles(m.w, row + half * kTileRows, col, n_cols, s.panel[half][0]);
    unit.multiply(
        {.n_rows = n_rows > kTileRows ? 2 * kTileRows : kTileRows,
         .n_columns = n_tokens,
         .depth = (n_cols + kTileDepth - 1) / kTileDepth,
         .a = {s.panel[0][0], s.panel[1][0]},
         .a_step = {kTileBytes, kTileBytes},
         .b = half_inputs(const_cast<std::byte*>(m.inputs), col, first, m.n_tokens, m.w.cols),
         .b_step = kPanelTiles * kTileBytes,
         .c = s.sums[0],
         .c_stride = kSumsStride,
         .is_first = col == 0});
  }
  const bool has_bias = m.bias != nullptr && last_col == m.w.cols;
  each_square([&](std::int64_t at, int rows, int token, int tokens, const float* sums) {
    store_square(sums, has_bias ? m.bias + at : nullptr, rows, tokens,
                 m.y + token * m.y_stride + at, m.y_stride);
  });
}

static void half_tiles(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                       std::byte* scratch) {
  static_assert(sizeof(HalfScratch) <= kLeastScratchBytes);
  auto& s = *reinterpret_cast<HalfScratch*>(scratch);
  TileUnit unit;
  for_each_slab(m, first_row, last_row, kPanelColumns, 2,
                [&](std::int64_t row, int n_rows, std::int64_t first_col, std::int64_t last_col,
                    int first, int last) {
                  multiply_columns(m, row, n_rows, first_col, last_col, first, last, s, unit);
                });
}
