// Half-precision weights on tiles: a panel of them becomes bfloat16 once, in cache, and all tokens
// pass over it. A = inputs, B = weights: rows of C are tokens, its columns are rows of the weights.

constexpr int kPanelTiles = 8;  // of 32 columns
constexpr std::int64_t kPanelColumns = kPanelTiles * kTileDepth;

struct HalfScratch {
  SlabSums sums;
  std::byte panel[2][kPanelTiles][kTileBytes];  // of 16 rows each
};

// Inputs follow the int8 inputs: of all tokens one panel's columns after the other, in groups of
// kTileRows (the last may be smaller), [panels][groups][8][tokens of the group][32] bf16.
constexpr std::int64_t kPanelInputBytes = kPanelColumns * 2;

static std::int64_t place_of_half_inputs(std::int64_t col, int token, int n_tokens,
                                         std::int64_t cols) {
  const int first = token / kTileRows * kTileRows;
  return n_tokens * n_spans(cols) * kSpanInputBytes +
         (col / kPanelColumns * n_tokens + first) * kPanelInputBytes +
         (col % kPanelColumns / kTileDepth * of_half(0, n_tokens - first) + token - first) * 64;
}

static void prepare_halves(const float* x, std::int64_t cols, int token, int n_tokens,
                           std::byte* inputs) {
  for (std::int64_t col = 0; col < cols; col += kTileDepth)
    _mm512_storeu_si512(inputs + place_of_half_inputs(col, token, n_tokens, cols),
                        narrow_some(x + col, cols - col));
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

// 16 rows of half-precision weights, as stored, to tiles of B; rows past the matrix and columns
// past it are 0.
static void fill_half_tiles(const Matrix& w, std::int64_t row, std::int64_t first_col,
                            std::int64_t n_cols, std::byte* tile) {
  const auto* data = reinterpret_cast<const std::uint16_t*>(w.data);
  const int n_rows = static_cast<int>(w.rows - row < kTileRows ? w.rows - row : kTileRows);
  for (std::int64_t col = 0; col < n_cols; col += kTileDepth, tile += kTileBytes) {
    const std::int64_t n = n_cols - col < kTileDepth ? n_cols - col : kTileDepth;
    const auto mask = static_cast<__mmask32>((std::uint64_t{1} << n) - 1);
    __m512i rows[kTileRows];
    for (int r = 0; r < kTileRows; ++r) {
      const __m512i halves = _mm512_maskz_loadu_epi16(
          r < n_rows ? mask : 0, data + (row + (r < n_rows ? r : 0)) * w.cols + first_col + col);
      rows[r] = halves;
      if (w.type == TensorType::kBF16) continue;
      rows[r] = narrow({(native)_mm512_cvtph_ps(_mm512_castsi512_si256(halves))},
                       {(native)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))});
    }
    transpose(rows);
    for (int p = 0; p < kTileRows; ++p) _mm512_storeu_si512(tile + p * 64, rows[p]);
  }
}

// The panel's part of the sums of the tokens [first, last).
static void pass_panel(const Matmul& m, std::int64_t first_col, int n_tiles, int n_rows, int first,
                       int last, HalfScratch& s, TileUnit& unit) {
  for (int token = first; token < last; token += 2 * kTileRows) {
    const int left = last - token;
    TileProduct p = {.n_rows = left < 2 * kTileRows ? left : 2 * kTileRows,
                     .n_columns = n_rows,
                     .depth = n_tiles,
                     .b = s.panel[0][0],
                     .b_step = sizeof(s.panel[0]),
                     .c = s.sums[token - first],
                     .c_stride = 2 * kTileRows,
                     .is_first = false};
    for (int half = 0; half < 2 && of_half(half, left) > 0; ++half) {
      const int at = token + half * kTileRows;
      p.a[half] = m.inputs + place_of_half_inputs(first_col, at, m.n_tokens, m.w.cols);
      p.a_step[half] = of_half(0, m.n_tokens - at) * 64;
    }
    unit.multiply(p);
  }
}

// The columns [first_col, last_col) of up to 32 rows for the tokens [first, last).
static void multiply_columns(const Matmul& m, std::int64_t row, int n_rows, std::int64_t first_col,
                             std::int64_t last_col, int first, int last, HalfScratch& s,
                             TileUnit& unit) {
  begin_sums(m, row, n_rows, first_col == 0, first, last, s.sums);
  const int padded = of_half(1, n_rows) > 0 ? 2 * kTileRows : kTileRows;
  for (std::int64_t col = first_col; col < last_col; col += kPanelColumns) {
    const std::int64_t n_cols = last_col - col < kPanelColumns ? last_col - col : kPanelColumns;
    for (int half = 0; half * kTileRows < n_rows; ++half)
      fill_half_tiles(m.w, row + half * kTileRows, col, n_cols, s.panel[half][0]);
    pass_panel(m, col, static_cast<int>((n_cols + kTileDepth - 1) / kTileDepth), padded, first,
               last, s, unit);
  }
  keep_sums(m, row, n_rows, last_col == m.w.cols, first, last, s.sums);
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
