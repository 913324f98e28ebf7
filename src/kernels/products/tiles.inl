// Tiles of bfloat16 numbers, and their product:
//
//   C [m][n] f32  +=  A [m][32] bf16  *  B [32][n] bf16
//
// B lies in pairs: its row p holds, for each column n, elements 2p and 2p + 1 of the 32 that are
// summed over. A sum is taken in the order of the 32 alone, whatever m and n are, so a row has the
// same bits in any company. amx_tiles.inl and dot_tiles.inl have the product itself:
//
//   TileUnit::multiply(const TileProduct&)

constexpr int kTileRows = 16;
constexpr int kTileDepth = 32;  // elements summed over
constexpr std::int64_t kTileBytes = 1024;

// C of up to 32 rows and any number of columns.
struct TileProduct {
  int n_rows;
  int n_columns;
  std::int64_t depth;           // tiles that are summed over
  const std::byte* a[2];        // the first 16 rows and the others
  std::int64_t a_step[2] = {};  // bytes from one tile of the sum to the next; rows are 64 bytes
  const std::byte* b;           // for 16 columns `depth` tiles one after the other,
  std::int64_t b_step;          // bytes from there to the tiles of the next 16 columns
  float* c;
  std::int64_t c_stride;  // floats
  bool is_first;          // C starts at 0
  bool is_b_far = false;  // in memory, to be read once
};

// How many of n rows (or columns) half 0 or half 1 of a pair of tiles takes.
RUNNEL_INLINE int of_half(int half, std::int64_t n) {
  const std::int64_t left = n - half * kTileRows;
  return static_cast<int>(left < 0 ? 0 : left < kTileRows ? left : kTileRows);
}

// To bfloat16, nearest even; subnormal numbers become 0.
RUNNEL_INLINE __m512i narrow(Vec low, Vec high) {
  return (__m512i)_mm512_cvtne2ps_pbh((__m512)high.part[0], (__m512)low.part[0]);
}
RUNNEL_INLINE __m512i half_to_bfloat(__m512i halves) {
  return narrow({(native)_mm512_cvtph_ps(_mm512_castsi512_si256(halves))},
                {(native)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))});
}
// The first n of 32 floats, or all; then zeros.
RUNNEL_INLINE __m512i narrow_some(const float* x, std::int64_t n) {
  if (n >= 32) return narrow(load(x), load(x + 16));
  const int low = static_cast<int>(n < 16 ? n : 16);
  return narrow(load_some(x, low), load_some(x + low, static_cast<int>(n) - low));
}
// Lane n: (even[n], odd[n]). A row of B.
RUNNEL_INLINE __m512i pairs(Vec even, Vec odd) {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), narrow(even, odd));
}
