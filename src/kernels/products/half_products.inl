// Products of half-precision weights by pairs of bfloat16 numbers. After tiles.inl and what has the
// TileUnit:
//
//   C [tokens][32 rows] f32  +=  A [tokens][cols] bf16  *  B [cols][32 rows] bf16
//
// Weights become bfloat16 once, when they are packed, and lie as they are multiplied:
//
//   Group of 16 rows:  a tile of B for 32 columns after the other, zeros past the row
//
// A token's sums run over all columns in rising order, whatever the number of tokens.

constexpr std::int64_t kPanelTiles = 8;  // that stay near while all tokens pass
constexpr int kFewTokens = 2 * kTileRows;

RUNNEL_INLINE std::int64_t n_tiles(std::int64_t cols) {
  return (cols + kTileDepth - 1) / kTileDepth;
}
RUNNEL_INLINE std::size_t half_group_bytes(std::int64_t cols) {
  return static_cast<std::size_t>(n_tiles(cols) * kTileBytes);
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

// See Table::pack.
static void pack_halves(TensorType type, const std::byte* data, std::int64_t rows,
                        std::int64_t cols, std::int64_t row, std::byte* out) {
  for (std::int64_t col = 0; col < cols; col += kTileDepth) {
    const std::int64_t left = cols - col;
    const __mmask32 columns = left >= kTileDepth ? ~0u : (1u << left) - 1;
    __m512i tile[kTileRows] = {};
    for (int r = 0; r < kTileRows && row + r < rows; ++r) {
      const __m512i halves = _mm512_maskz_loadu_epi16(columns, data + ((row + r) * cols + col) * 2);
      tile[r] = type == TensorType::kBF16 ? halves : half_to_bfloat(halves);
    }
    transpose(tile);
    for (const __m512i& pairs_of_rows : tile) {
      _mm512_storeu_si512(out, pairs_of_rows);
      out += sizeof(pairs_of_rows);
    }
  }
}

// Inputs: groups of 16 tokens (the last may be smaller), of each group tiles of A.
static std::size_t half_input_bytes(std::int64_t cols, int n_tokens) {
  return static_cast<std::size_t>(n_tokens * n_tiles(cols) * 64);
}
// Tile `tile` of the group of `token`, a multiple of 16.
RUNNEL_INLINE std::int64_t input_tile_at(std::int64_t tile, int token, int n_tokens,
                                         std::int64_t cols) {
  return (token * n_tiles(cols) + tile * of_half(0, n_tokens - token)) * 64;
}

static void prepare_halves(const float* x, std::int64_t cols, std::int64_t first, std::int64_t last,
                           int token, int n_tokens, std::byte* inputs) {
  const int in_group = token % kTileRows;
  for (std::int64_t col = first; col < last; col += kTileDepth) {
    const std::int64_t tile = input_tile_at(col / kTileDepth, token - in_group, n_tokens, cols);
    _mm512_storeu_si512(inputs + tile + in_group * 64, narrow_some(x + col, cols - col));
  }
}

// The columns [first_col, last_col) of up to 32 rows for the tokens [first, last). `inputs`: the
// half-precision ones.
static void multiply_slab(const Matmul& m, const std::byte* inputs, std::int64_t row, int n_rows,
                          std::int64_t first_col, std::int64_t last_col, int first, int last,
                          SlabSums& sums, TileUnit& unit) {
  const auto group_bytes = static_cast<std::int64_t>(half_group_bytes(m.w.cols));
  const std::byte* const weights = m.w.packed + row / kGroupRows * group_bytes;
  const bool is_few = last - first <= kFewTokens;  // then a panel is read once, from memory
  if (first_col > 0) begin_sums(m, row, n_rows, false, first, last, sums);
  const std::int64_t end = n_tiles(last_col);
  const std::int64_t step = is_few ? end : kPanelTiles;
  for (std::int64_t tile = first_col / kTileDepth; tile < end; tile += step) {
    for (int token = first; token < last; token += 2 * kTileRows) {
      const int n_tokens = last - token < 2 * kTileRows ? last - token : 2 * kTileRows;
      const std::byte* const halves[2] = {
          inputs + input_tile_at(tile, token, m.n_tokens, m.w.cols),
          inputs + input_tile_at(tile, token + kTileRows, m.n_tokens, m.w.cols)};
      unit.multiply(
          {.n_rows = n_tokens,
           .n_columns = n_rows > kTileRows ? 2 * kTileRows : kTileRows,
           .depth = end - tile < step ? end - tile : step,
           .a = {halves[0], halves[1]},
           .a_step = {of_half(0, m.n_tokens - token) * 64, of_half(1, m.n_tokens - token) * 64},
           .b = weights + tile * kTileBytes,
           .b_step = group_bytes,
           .c = sums[token - first],
           .c_stride = 2 * kTileRows,
           .is_first = tile == 0,
           .is_b_far = is_few});
    }
  }
  keep_sums(m, row, n_rows, last_col == m.w.cols, first, last, sums);
}

static void multiply_halves(const Matmul& m, const std::byte* inputs, std::int64_t first_row,
                            std::int64_t last_row, std::byte* scratch) {
  static_assert(sizeof(SlabSums) <= kLeastScratchBytes);
  auto& sums = *reinterpret_cast<SlabSums*>(scratch);
  TileUnit unit;
  for_each_slab(m, first_row, last_row, kPanelTiles * kTileDepth, 2,
                [&](std::int64_t row, int n_rows, std::int64_t first_col, std::int64_t last_col,
                    int first, int last) {
                  multiply_slab(m, inputs, row, n_rows, first_col, last_col, first, last, sums,
                                unit);
                });
}
