// The most that the matrix unit could do. After amx_tiles.inl.

// Takes step(), four products of tiles 4 and 5 with 6 and 7, many times; returns how many products.
template <typename Step>
static std::int64_t peak_of_tiles(std::int64_t rounds, float* sink, Step step) {
  shape_tiles(kTileRows, kTileRows, kTileRows, kTileRows);
  alignas(64) float c[kTileRows * kTileRows] = {*sink};
  order_memory();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, c, 64);
  _tile_loadd(5, c, 64);
  _tile_loadd(6, c, 64);
  _tile_loadd(7, c, 64);
  const std::int64_t steps =
      rounds / 16;  // a product takes about as long as 16 vector instructions
  for (std::int64_t i = 0; i < steps; ++i) step();
  _tile_stored(3, c, 64);
  order_memory();
  _tile_release();
  *sink += c[0];
  return 4 * steps;
}

static std::int64_t bfloat_peak(std::int64_t rounds, float* sink) {
  const std::int64_t products = peak_of_tiles(rounds, sink, [] {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  });
  return products * kTileRows * kTileRows * kTileDepth;
}

// Pairs of a weight, which has two digits, and an input.
static std::int64_t int8_peak(std::int64_t rounds, float* sink) {
  const std::int64_t products = peak_of_tiles(rounds, sink, [] {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  });
  return products * kTileRows * kTileRows * 64 / 2;
}
static std::int64_t packed_peak(TensorType /*type*/, std::int64_t rounds, float* sink) {
  return int8_peak(rounds, sink);
}
