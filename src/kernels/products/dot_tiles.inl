// The product of tiles by the dot products of bfloat16 pairs that AVX512-BF16 has.

// A pair.
typedef std::int32_t pair_word __attribute__((may_alias));

// Each lane: sum + the dot product of a pair.
RUNNEL_INLINE Vec add_dots(Vec sum, __m512i a, __m512i b) {
  return {(native)_mm512_dpbf16_ps((__m512)sum.part[0], (__m512bh)a, (__m512bh)b)};
}

// A pair of a row of A, broadcast, times a row of B: 16 columns at once.
class TileUnit {
 public:
  static constexpr bool kTakesPairs = true;
  // sum + a pair of A, broadcast, times a row of B, once: inside the instruction, which the
  // compiler would not do.
  RUNNEL_INLINE Vec add_pairs(Vec sum, const std::byte* pair, __m512i columns) {
    asm("vdpbf16ps %2%{1to16%}, %1, %0"
        : "+v"(sum.part[0])
        : "v"(columns), "m"(*reinterpret_cast<const pair_word*>(pair)));
    return sum;
  }

  static void multiply(const TileProduct& p) {
    int row = 0;
    for (; row + 8 <= p.n_rows; row += 8) multiply_rows<8, 2>(p, row);
    for (; row + 4 <= p.n_rows; row += 4) multiply_rows<4, 4>(p, row);
    for (; row + 2 <= p.n_rows; row += 2) multiply_rows<2, 4>(p, row);
    if (row < p.n_rows) multiply_rows<1, 4>(p, row);
  }

 private:
  // R rows, V vectors of columns side by side: enough sums that none waits for itself.
  template <int R, int V>
  static void multiply_rows(const TileProduct& p, int row) {
    int column = 0;
    for (; column + V * kTile <= p.n_columns; column += V * kTile)
      multiply_at<R, V>(p, row, column);
    for (; column + 2 * kTile <= p.n_columns; column += 2 * kTile)
      multiply_at<R, 2>(p, row, column);
    if (column < p.n_columns) multiply_at<R, 1>(p, row, column);
  }

  template <int R, int V>
  RUNNEL_INLINE void multiply_at(const TileProduct& p, int row, int column) {
    const int half = row / kTileRows;
    const std::byte* a = p.a[half] + row % kTileRows * 64;
    const std::byte* b = p.b + column / kTile * p.b_step;
    float* const c = p.c + row * p.c_stride + column;
    Vec sums[R][V];
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v)
        sums[r][v] = p.is_first ? splat(0) : load(c + r * p.c_stride + v * kTile);
    }
    for (std::int64_t k = 0; k < p.depth; ++k, a += p.a_step[half], b += kTileBytes) {
      for (int pair = 0; pair < kTileDepth / 2; ++pair) {
        __m512i columns[V];
        for (int v = 0; v < V; ++v) columns[v] = _mm512_loadu_si512(b + v * p.b_step + pair * 64);
        for (int r = 0; r < R; ++r) {
          const __m512i two =
              _mm512_set1_epi32(*reinterpret_cast<const pair_word*>(a + r * 64 + pair * 4));
          for (int v = 0; v < V; ++v) sums[r][v] = add_dots(sums[r][v], two, columns[v]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) store(c + r * p.c_stride + v * kTile, sums[r][v]);
    }
  }
};
