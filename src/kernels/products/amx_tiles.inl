// The product of tiles by the matrix unit: eight registers of up to 16 rows of 64 bytes, and one
// instruction that multiplies two of them into a third. Source: Intel 64 and IA-32 Architectures
// Software Developer's Manual, volume 2, TDPBF16PS.

// The compiler does not know what memory the tile instructions read and write.
RUNNEL_INLINE void order_memory() { __asm__ volatile("" ::: "memory"); }

// Bytes that weights are asked for ahead of a few tokens: memory gives a core more than the
// processor asks for by itself.
constexpr int kFetchAhead = 8192;

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

// The unit of one thread, for as long as it is used.
class TileUnit {
 public:
  static constexpr bool kTakesPairs = false;
  TileUnit() = default;
  ~TileUnit() { _tile_release(); }
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;

  void multiply(const TileProduct& p) {
    const int rows[2] = {of_half(0, p.n_rows), of_half(1, p.n_rows)};
    for (int column = 0; column < p.n_columns; column += 2 * kTileRows) {
      const int columns[2] = {of_half(0, p.n_columns - column), of_half(1, p.n_columns - column)};
      shape(rows[0], rows[1], columns[0], columns[1]);
      if (rows[1] > 0) {
        columns[1] > 0 ? multiply_pair<true, true>(p, column)
                       : multiply_pair<true, false>(p, column);
      } else {
        columns[1] > 0 ? multiply_pair<false, true>(p, column)
                       : multiply_pair<false, false>(p, column);
      }
    }
  }

 private:
  // Shapes the tiles where they are not so already.
  void shape(int rows0, int rows1, int columns0, int columns1) {
    const int wanted[4] = {rows0, rows1, columns0, columns1};
    if (__builtin_memcmp(wanted, shape_, sizeof(shape_)) == 0) return;
    __builtin_memcpy(shape_, wanted, sizeof(shape_));
    shape_tiles(rows0, rows1, columns0, columns1);
  }

  // C of up to 2 x 2 tiles. Their numbers are part of the instructions.
  template <bool kTwoRows, bool kTwoColumns>
  static void multiply_pair(const TileProduct& p, int column) {
    const std::int64_t c_bytes = p.c_stride * static_cast<std::int64_t>(sizeof(float));
    float* const c0 = p.c + column;
    float* const c1 = c0 + kTileRows * p.c_stride;
    const std::byte* const b0 = p.b + column / kTileRows * p.b_step;
    const std::byte* const b1 = b0 + p.b_step;
    order_memory();
    if (p.is_first) {
      _tile_zero(0);
      if constexpr (kTwoColumns) _tile_zero(1);
      if constexpr (kTwoRows) _tile_zero(2);
      if constexpr (kTwoRows && kTwoColumns) _tile_zero(3);
    } else {
      _tile_loadd(0, c0, c_bytes);
      if constexpr (kTwoColumns) _tile_loadd(1, c0 + kTileRows, c_bytes);
      if constexpr (kTwoRows) _tile_loadd(2, c1, c_bytes);
      if constexpr (kTwoRows && kTwoColumns) _tile_loadd(3, c1 + kTileRows, c_bytes);
    }
    for (std::int64_t k = 0; k < p.depth; ++k) {
      const std::int64_t b_at = k * kTileBytes;
      if (p.is_b_far) {
        fetch_bytes(b0 + b_at + kFetchAhead, kTileBytes);
        if constexpr (kTwoColumns) fetch_bytes(b1 + b_at + kFetchAhead, kTileBytes);
      }
      _tile_loadd(4, p.a[0] + k * p.a_step[0], 64);
      _tile_loadd(6, b0 + b_at, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kTwoColumns) {
        _tile_loadd(7, b1 + b_at, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if constexpr (kTwoRows) {
        _tile_loadd(5, p.a[1] + k * p.a_step[1], 64);
        _tile_dpbf16ps(2, 5, 6);
      }
      if constexpr (kTwoRows && kTwoColumns) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c0, c_bytes);
    if constexpr (kTwoColumns) _tile_stored(1, c0 + kTileRows, c_bytes);
    if constexpr (kTwoRows) _tile_stored(2, c1, c_bytes);
    if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, c1 + kTileRows, c_bytes);
    order_memory();
  }

  int shape_[4] = {};
};
