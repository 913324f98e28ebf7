// Products by the dot products of bfloat16 pairs that AVX512-BF16 has: of half-precision weights
// with inputs made bfloat16 on the way, and of tiles.

// Each lane: sum + the dot product of a pair.
RUNNEL_INLINE Vec add_dots(Vec sum, __m512i a, __m512i b) {
  return {(native)_mm512_dpbf16_ps((__m512)sum.part[0], (__m512bh)a, (__m512bh)b)};
}

// See Dot.
struct BfloatDot {
  static constexpr int kWidth = 32;
  static constexpr int kRows = 8;
  static constexpr int kTokens = 3;
  static constexpr Numbers kNumbers = Numbers::kBFloat16;
  using Panel = Bfloat;
  using Operand = __m512i;
  RUNNEL_INLINE __m512i take(const Bfloat* p) { return _mm512_loadu_si512(p); }
  template <typename T>
  RUNNEL_INLINE __m512i take(const T* p) {
    return narrow(widen16(p), widen16(p + kTile));
  }
  RUNNEL_INLINE Vec add(__m512i weights, __m512i inputs, Vec sum) {
    return add_dots(sum, weights, inputs);
  }
  RUNNEL_INLINE void put(Bfloat* panel, __m512i numbers) { _mm512_storeu_si512(panel, numbers); }
};
template <>
struct Dot<Half> : BfloatDot {};
template <>
struct Dot<Bfloat> : BfloatDot {};

// A pair of a row of A, broadcast, times a row of B: 16 columns at once.
class TileUnit {
 public:
  static constexpr bool kTakesPairs = true;
  // sum + a pair of A, broadcast, times a row of B.
  RUNNEL_INLINE Vec add_pairs(Vec sum, const std::byte* pair, __m512i columns) {
    std::int32_t two;
    __builtin_memcpy(&two, pair, 4);
    return add_dots(sum, _mm512_set1_epi32(two), columns);
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
    for (; column < p.n_columns; column += kTile) multiply_at<R, 1>(p, row, column);
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
          for (int v = 0; v < V; ++v)
            sums[r][v] = add_pairs(sums[r][v], a + r * 64 + pair * 4, columns[v]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) store(c + r * p.c_stride + v * kTile, sums[r][v]);
    }
  }
};

static std::int64_t bfloat_peak(std::int64_t rounds, float* sink) {
  Vec acc[kChains];
  RUNNEL_EACH_CHAIN(kChains) { acc[i] = start_of_chain(i); }
  const auto a = (__m512i)splat(*sink).part[0];
  const std::int64_t n = run_chains<kChains>(
      rounds,
      2 * kTile, [&](int i) __attribute__((always_inline)) { acc[i] = add_dots(acc[i], a, a); });
  RUNNEL_EACH_CHAIN(kChains) { *sink += sum_lanes(acc[i]); }
  return n;
}
