// Products that keep many tokens' sums for up to 32 rows in scratch, [kSlabTokens][32] floats.

constexpr int kSlabTokens = 512;
constexpr std::int64_t kSlabBytes = 2 << 20;  // of inputs, that stay in cache while all rows pass
using SlabSums = float[kSlabTokens][2 * kTileRows];

// Sums of the tokens [first, last) and n_rows rows from `row`: zeros, or what y has.
static void begin_sums(const Matmul& m, std::int64_t row, int n_rows, bool is_first, int first,
                       int last, SlabSums& sums) {
  for (int t = first; t < last; ++t) {
    const float* y = m.y + t * m.y_stride + row;
    for (int half = 0; half < 2; ++half)
      store(sums[t - first] + half * kTile,
            is_first ? splat(0) : load_first(y + half * kTile, of_half(half, n_rows)));
  }
}
// To y; with the bias if these are the last columns.
static void keep_sums(const Matmul& m, std::int64_t row, int n_rows, bool is_last, int first,
                      int last, const SlabSums& sums) {
  const bool has_bias = is_last && m.bias != nullptr;
  for (int t = first; t < last; ++t) {
    for (int half = 0; half * kTile < n_rows; ++half) {
      const int n = of_half(half, n_rows);
      Vec sum = load(sums[t - first] + half * kTile);
      if (has_bias) sum = sum + load_first(m.bias + row + half * kTile, n);
      store_first(m.y + t * m.y_stride + row + half * kTile, sum, n);
    }
  }
}

// Cuts the work into blocks of tokens, slabs of whole steps of columns and pairs of row groups:
// f(row, n_rows, first_col, last_col, first_token, last_token).
template <typename F>
RUNNEL_INLINE void for_each_slab(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                                 std::int64_t step, int bytes_of_input, F f) {
  for (int first = 0; first < m.n_tokens; first += kSlabTokens) {
    const int last = first + kSlabTokens < m.n_tokens ? first + kSlabTokens : m.n_tokens;
    const std::int64_t slab = (kSlabBytes / (step * bytes_of_input * (last - first)) + 1) * step;
    for (std::int64_t col = 0; col < m.w.cols; col += slab) {
      const std::int64_t end = col + slab < m.w.cols ? col + slab : m.w.cols;
      for (std::int64_t row = first_row; row < last_row; row += 2 * kTileRows) {
        const std::int64_t left = last_row - row;
        f(row, static_cast<int>(left < 2 * kTileRows ? left : 2 * kTileRows), col, end, first,
          last);
      }
    }
  }
}
