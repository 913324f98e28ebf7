// The matrix product on tiles: a panel of weights becomes bfloat16 once, in cache, and all tokens
// pass over it. A = inputs, B = weights: rows of C are tokens, its columns are rows of the weights.

constexpr std::int64_t kSlab = 512;  // columns of a panel: 32 rows of them fill 32 KiB
static_assert(2 * kTileRows * kSlab * sizeof(std::uint16_t) <= sizeof(float) * kGroupRows * kSlab);

static bool wants_inputs(const Matrix& w) {
  return w.packed != nullptr || w.type == TensorType::kF16 || w.type == TensorType::kBF16;
}

static Numbers numbers(const Matrix& w) {
  return wants_inputs(w) ? Numbers::kBFloat16 : Numbers::kFloat;
}

// Inputs: 32 columns of a token fill a cache line; tokens stand in groups of kTileRows, and in a
// group chunk by chunk.
constexpr int kInputChunkBytes = 64;

static void prepare_row(const float* x, std::int64_t cols, int token, int n_tokens,
                        std::byte* inputs) {
  const InputPlace place = input_place(token, n_tokens, cols, kTileRows);
  std::byte* out = inputs + place.first * kInputChunkBytes;
  for (std::int64_t col = 0; col < cols;
       col += kTileDepth, out += place.stride * kInputChunkBytes) {
    _mm512_storeu_si512(out, narrow_some(x + col, cols - col));
  }
}

// The numbers in byte kByte of each 32-bit lane.
template <int kByte>
RUNNEL_INLINE Vec byte_of_lanes(Bytes b) {
  const __m512i order = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(0x80808000u) + kByte),
                                         _mm512_broadcast_i32x4(_mm_setr_epi32(0, 4, 8, 12)));
  return {(native)_mm512_cvtepi32_ps(_mm512_shuffle_epi8((__m512i)b.part[0], order))};
}

// Chunks of 32 columns of a packed group to tiles of B.
template <PackedFormat F>
static void fill_tiles(const std::byte* group, std::int64_t n_cols, std::byte* tile) {
  for (std::int64_t col = 0; col < n_cols; col += F.block, group += F.block_bytes()) {
    const auto* halves = reinterpret_cast<const std::uint16_t*>(group);
    const Vec d = F.is_e2m1 ? load_bfloat16(halves) : load_half16(halves);
    const Vec m = F.has_minimums ? load_half16(halves + kGroupRows) : splat(0);
    const std::byte* chunk = group + F.head_bytes();
    for (int c = 0; c < F.block; c += 32, chunk += F.chunk_bytes(), tile += kTileBytes) {
      Bytes quads[8];
      load_quads<F.bits>(chunk, quads, std::make_index_sequence<8>{});
      const auto* lists = reinterpret_cast<const std::int8_t*>(chunk + 64 * F.bits);
      repeat<8>([&](int j) __attribute__((always_inline)) {
        const int sub = j * F.subs() / 8;
        Vec scale = d;
        Vec offset = splat(static_cast<float>(-F.offset)) * d;
        if constexpr (F.has_scales) {
          scale = d * load_int16x8(lists + sub * kGroupRows);
          offset = splat(static_cast<float>(-F.offset)) * scale;
        }
        if constexpr (F.has_minimums) {
          offset = F.adds_minimum ? m : splat(0) - m;
          if constexpr (F.has_scales) {
            offset = offset * load_int16x8(lists + (F.subs() + sub) * kGroupRows);
          }
        }
        if constexpr (F.is_e2m1) quads[j] = look_up(quads[j]);
        const auto weights = [&](Vec q) __attribute__((always_inline)) {
          return multiply_add(q, scale, offset);
        };
        std::byte* rows = tile + j * 128;
        _mm512_storeu_si512(
            rows, pairs(weights(byte_of_lanes<0>(quads[j])), weights(byte_of_lanes<1>(quads[j]))));
        _mm512_storeu_si512(rows + 64, pairs(weights(byte_of_lanes<2>(quads[j])),
                                             weights(byte_of_lanes<3>(quads[j]))));
      });
    }
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

// Up to 32 rows of weights, as a panel of n_tiles tiles for each 16 of them.
struct Panel {
  const std::byte* tiles;
  std::int64_t n_tiles;
  std::int64_t first_col;
  std::int64_t row;
  int n_rows;
};

// The panel's part of all tokens' sums.
static void multiply_panel(const Matmul& m, const Panel& panel, TileUnit& unit) {
  for (int token = 0; token < m.n_tokens; token += 2 * kTileRows) {
    const int left = m.n_tokens - token;
    TileProduct p = {.n_rows = left < 2 * kTileRows ? left : 2 * kTileRows,
                     .n_columns = panel.n_rows,
                     .depth = panel.n_tiles,
                     .b = panel.tiles,
                     .b_step = panel.n_tiles * kTileBytes,
                     .c = m.y + token * m.y_stride + panel.row,
                     .c_stride = m.y_stride,
                     .is_first = panel.first_col == 0};
    for (int half = 0; of_half(half, left) > 0 && half < 2; ++half) {
      const InputPlace place =
          input_place(token + half * kTileRows, m.n_tokens, m.w.cols, kTileRows);
      p.a_step[half] = place.stride * kInputChunkBytes;
      p.a[half] =
          m.inputs + place.first * kInputChunkBytes + panel.first_col / kTileDepth * p.a_step[half];
    }
    unit.multiply(p);
  }
}

static void fill_panel(const Matrix& w, std::int64_t row, std::int64_t first_col,
                       std::int64_t n_cols, std::byte* tiles) {
  if (w.packed == nullptr) return fill_half_tiles(w, row, first_col, n_cols, tiles);
  const std::size_t group_bytes = packed_group_bytes(*packed_format(w.type), w.cols);
  const std::byte* group = w.packed + static_cast<std::size_t>(row / kTileRows) * group_bytes;
  with_packed_format(w.type, [&]<PackedFormat F>() {
    fill_tiles<F>(group + packed_group_bytes(F, first_col), n_cols, tiles);
  });
}

// The slab [first_col, first_col + n_cols) of rows [first_row, last_row).
static void multiply_slab(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                          std::int64_t first_col, std::byte* tiles, TileUnit& unit) {
  const std::int64_t left = m.w.cols - first_col;
  const std::int64_t n_cols = left < kSlab ? left : kSlab;
  Panel panel = {tiles, (n_cols + kTileDepth - 1) / kTileDepth, first_col, 0, 0};
  for (std::int64_t row = first_row; row < last_row; row += 2 * kTileRows) {
    panel.row = row;
    panel.n_rows = of_half(0, last_row - row) + of_half(1, last_row - row);
    for (int half = 0; half * kTileRows < panel.n_rows; ++half) {
      fill_panel(m.w, row + half * kTileRows, first_col, n_cols,
                 tiles + half * panel.n_tiles * kTileBytes);
    }
    multiply_panel(m, panel, unit);
  }
}

// Where the inputs stay in cache, weights are read in the order they lie; else all rows pass over
// one slab of the inputs after the other.
static void multiply_inputs(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                            std::byte* scratch) {
  constexpr std::int64_t kCachedInputs = std::int64_t{512} << 10;  // bytes
  const bool is_cached = m.n_tokens * m.w.cols * 2 <= kCachedInputs;
  const std::int64_t step = is_cached ? 2 * kTileRows : last_row - first_row;
  TileUnit unit;
  for (std::int64_t first = first_row; first < last_row; first += step) {
    const std::int64_t last = first + step < last_row ? first + step : last_row;
    for (std::int64_t col = 0; col < m.w.cols; col += kSlab)
      multiply_slab(m, first, last, col, scratch, unit);
  }
  for (int token = 0; m.bias != nullptr && token < m.n_tokens; ++token) {
    float* y = m.y + token * m.y_stride;
    for (std::int64_t row = first_row; row < last_row; ++row) y[row] += m.bias[row];
  }
}
