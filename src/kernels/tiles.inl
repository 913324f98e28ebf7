// Tiles: eight registers of up to 16 rows of 64 bytes, and one instruction that multiplies two of
// them into a third.
//
//   C [m][n] f32  +=  A [m][32] bf16  *  B [32][n] bf16
//
// B lies in pairs: its row p holds, for each column n, elements 2p and 2p + 1 of the 32 that are
// summed over. A sum is taken in the order of the 32 alone, whatever m and n are, so a row has the
// same bits in any company. Source: Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 2, TDPBF16PS.

constexpr int kTileRows = 16;
constexpr int kTileDepth = 32;  // elements summed over
constexpr std::size_t kTileBytes = 1024;

// The compiler does not know what memory the tile instructions read and write.
RUNNEL_INLINE void order_memory() { __asm__ volatile("" ::: "memory"); }

// What the eight registers are: [0..3] = C of two row and two column halves, [4..5] = A, [6..7] =
// B. Shapes that are not used are 0.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(int tile, int n_rows, int n_columns) {
    const bool is_used = n_rows > 0 && n_columns > 0;
    rows[tile] = static_cast<std::uint8_t>(is_used ? n_rows : 0);
    row_bytes[tile] = static_cast<std::uint16_t>(is_used ? 4 * n_columns : 0);
  }
};

// Tiles for C [rows0 + rows1][columns0 + columns1]; the second half of either may be 0.
static void shape_tiles(int rows0, int rows1, int columns0, int columns1) {
  TileShapes shapes;
  shapes.set(0, rows0, columns0);
  shapes.set(1, rows0, columns1);
  shapes.set(2, rows1, columns0);
  shapes.set(3, rows1, columns1);
  shapes.set(4, rows0, kTileDepth / 2);
  shapes.set(5, rows1, kTileDepth / 2);
  shapes.set(6, kTileDepth / 2, columns0);
  shapes.set(7, kTileDepth / 2, columns1);
  order_memory();
  _tile_loadconfig(&shapes);
}

// Shapes the tiles where they are not so already.
class TileShaper {
 public:
  void operator()(int rows0, int rows1, int columns0, int columns1) {
    const int wanted[4] = {rows0, rows1, columns0, columns1};
    if (__builtin_memcmp(wanted, shape_, sizeof(shape_)) == 0) return;
    __builtin_memcpy(shape_, wanted, sizeof(shape_));
    shape_tiles(rows0, rows1, columns0, columns1);
  }

 private:
  int shape_[4] = {};
};

// How many of n rows (or columns) half 0 or half 1 of a pair of tiles takes.
RUNNEL_INLINE int of_half(int half, std::int64_t n) {
  const std::int64_t left = n - half * kTileRows;
  return static_cast<int>(left < 0 ? 0 : left < kTileRows ? left : kTileRows);
}

// C of up to 2 x 2 tiles. A and B are n_tiles tiles, one after the other.
struct TileProduct {
  const std::byte* a[2];        // row halves
  std::int64_t a_step[2] = {};  // bytes from one tile to the next; their rows are 64 bytes
  const std::byte* b[2];        // column halves, in tiles of kTileBytes
  std::int64_t n_tiles;
  float* c;
  std::int64_t c_stride;  // floats
  bool is_first;          // C starts at 0
};

// The numbers of tiles are part of the instructions.
template <bool kTwoRows, bool kTwoColumns>
static void multiply_tiles(const TileProduct& p) {
  const std::int64_t c_bytes = p.c_stride * static_cast<std::int64_t>(sizeof(float));
  float* const c1 = p.c + kTileRows * p.c_stride;
  order_memory();
  if (p.is_first) {
    _tile_zero(0);
    if constexpr (kTwoColumns) _tile_zero(1);
    if constexpr (kTwoRows) _tile_zero(2);
    if constexpr (kTwoRows && kTwoColumns) _tile_zero(3);
  } else {
    _tile_loadd(0, p.c, c_bytes);
    if constexpr (kTwoColumns) _tile_loadd(1, p.c + kTileRows, c_bytes);
    if constexpr (kTwoRows) _tile_loadd(2, c1, c_bytes);
    if constexpr (kTwoRows && kTwoColumns) _tile_loadd(3, c1 + kTileRows, c_bytes);
  }
  for (std::int64_t k = 0; k < p.n_tiles; ++k) {
    const std::int64_t b_at = k * static_cast<std::int64_t>(kTileBytes);
    _tile_loadd(4, p.a[0] + k * p.a_step[0], 64);
    _tile_loadd(6, p.b[0] + b_at, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoColumns) {
      _tile_loadd(7, p.b[1] + b_at, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      _tile_loadd(5, p.a[1] + k * p.a_step[1], 64);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kTwoRows && kTwoColumns) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, p.c, c_bytes);
  if constexpr (kTwoColumns) _tile_stored(1, p.c + kTileRows, c_bytes);
  if constexpr (kTwoRows) _tile_stored(2, c1, c_bytes);
  if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, c1 + kTileRows, c_bytes);
  order_memory();
}

static void multiply_tiles(const TileProduct& p, bool has_two_rows, bool has_two_columns) {
  if (has_two_rows) {
    has_two_columns ? multiply_tiles<true, true>(p) : multiply_tiles<true, false>(p);
  } else {
    has_two_columns ? multiply_tiles<false, true>(p) : multiply_tiles<false, false>(p);
  }
}

// To bfloat16, nearest even; subnormal numbers become 0.
RUNNEL_INLINE __m512i narrow(Vec low, Vec high) {
  return (__m512i)_mm512_cvtne2ps_pbh((__m512)high.part[0], (__m512)low.part[0]);
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

constexpr const char* kMatrixNumbers = "bf16";

static std::int64_t matrix_peak(std::int64_t rounds, float* sink) {
  shape_tiles(kTileRows, kTileRows, kTileRows, kTileRows);
  alignas(64) float c[kTileRows * kTileRows] = {*sink};
  order_memory();
  _tile_loadd(4, c, 64);
  _tile_loadd(5, c, 64);
  _tile_loadd(6, c, 64);
  _tile_loadd(7, c, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const std::int64_t products = rounds / 16;  // each takes about as long as 16 vector instructions
  for (std::int64_t i = 0; i < products; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(3, c, 64);
  order_memory();
  _tile_release();
  *sink += c[0];
  return products * 4 * kTileRows * kTileRows * kTileDepth;
}
