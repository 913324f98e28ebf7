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

// Row r of 16, n_cols columns of it, as stored, to tiles of A; columns past it are 0, and so is a
// row past the matrix.
RUNNEL_INLINE void fill_half_row(const Matrix& w, std::int64_t row, int r, std::int64_t first_col,
                                 std::int64_t n_cols, std::byte* tiles) {
  const bool is_there = row + r < w.rows;
  const auto* from = reinterpret_cast<const std::uint16_t*>(w.data) +
                     (is_there ? row + r : row) * w.cols + first_col;
  std::byte* to = tiles + r * 64;
  for (std::int64_t col = 0; col < n_cols; col += kTileDepth, to += kTileBytes) {
    const std::int64_t n = is_there ? n_cols - col : 0;
    const auto mask = static_cast<__mmask32>(n >= kTileDepth ? ~0u : (1u << n) - 1);
    const __m512i halves = _mm512_maskz_loadu_epi16(mask, from + col);
    _mm512_store_si512(to, w.type == TensorType::kBF16 ? halves : half_to_bfloat(halves));
  }
}

// Up to 16 tokens: a panel of 128 columns is made while the one before is multiplied, and the next
// rows are fetched, end to end: rows side by side are as many streams, which memory gives slowly.
constexpr int kFewTiles = 4;

static void multiply_few(const Matmul& m, std::int64_t row, int n_rows, HalfScratch& s) {
  constexpr std::int64_t kColumns = kFewTiles * kTileDepth;
  const bool two = n_rows > kTileRows;
  const auto* next = m.w.data + (row + 2 * kTileRows) * m.w.cols * 2;
  const auto panel = [&](std::int64_t col, int half) __attribute__((always_inline)) {
    return s.panel[half][col / kColumns % 2 * kFewTiles];
  };
  const auto multiply_tile = [&](std::int64_t col, int tile) __attribute__((always_inline)) {
    order_memory();
    _tile_loadd(6,
                half_inputs(const_cast<std::byte*>(m.inputs), col + tile * kTileDepth, 0,
                            m.n_tokens, m.w.cols),
                64);
    _tile_loadd(4, panel(col, 0) + tile * kTileBytes, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, panel(col, 1) + tile * kTileBytes, 64);
    _tile_dpbf16ps(2, 5, 6);
    order_memory();
  };
  _tile_zero(0);
  _tile_zero(2);
  for (std::int64_t col = 0; col < m.w.cols + kColumns; col += kColumns) {
    const std::int64_t left = m.w.cols - col;
    const std::int64_t n_cols = left < kColumns ? left : kColumns;  // 0 or less: none
    for (int r = 0; r < kTileRows; ++r) {
      for (int half = 0; half < (two ? 2 : 1); ++half) {
        for (std::int64_t at = 0; at < n_cols; at += kTileDepth, next += 64) fetch(next);
        fill_half_row(m.w, row + half * kTileRows, r, col, n_cols, panel(col, half));
      }
      const int tile = r / (kTileRows / kFewTiles);
      const std::int64_t before = col - kColumns;
      if (r % (kTileRows / kFewTiles) == 0 && before >= 0 && before + tile * kTileDepth < m.w.cols)
        multiply_tile(before, tile);
    }
  }
  order_memory();
  _tile_stored(0, s.sums[0], sizeof(s.sums[0]));
  _tile_stored(2, s.sums[kTileRows], sizeof(s.sums[0]));
  order_memory();
  for (int half = 0; half < 2 && of_half(half, n_rows) > 0; ++half) {
    const std::int64_t at = row + half * kTileRows;
    store_square(s.sums[half * kTileRows], m.bias != nullptr ? m.bias + at : nullptr,
                 of_half(half, n_rows), m.n_tokens, m.y + at, m.y_stride);
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
      for (int r = 0; r < kTileRows; ++r)
        fill_half_row(m.w, row + half * kTileRows, r, col, n_cols, s.panel[half][0]);
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
  if (m.n_tokens <= kTileRows) {
    shape_tiles(kTileRows, kTileRows, m.n_tokens, 0);
    for (std::int64_t row = first_row; row < last_row; row += 2 * kTileRows)
      multiply_few(m, row, of_half(0, last_row - row) + of_half(1, last_row - row), s);
    return _tile_release();
  }
  TileUnit unit;
  for_each_slab(m, first_row, last_row, kPanelColumns, 2,
                [&](std::int64_t row, int n_rows, std::int64_t first_col, std::int64_t last_col,
                    int first, int last) {
                  multiply_columns(m, row, n_rows, first_col, last_col, first, last, s, unit);
                });
}
