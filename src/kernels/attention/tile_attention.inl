// Softmax attention on tiles: keys pass in blocks of 64 positions, made bfloat16 once for all rows.
//
//   scores [rows][64]  = queries [rows][head_dim] * keys [head_dim][64]
//   out [rows][width] += weights [rows][64] * values [64][width]
//
// Blocks begin at multiples of 64 positions whatever the chunk, and what a row does not see has
// weight 0: its sums depend on its own keys alone. A cache of floats is attended to in floats.

constexpr int kBlockTiles = 4;  // of kTile keys
constexpr int kBlockKeys = kBlockTiles * kTile;
constexpr int kValueDepth = kBlockKeys / kTileDepth;  // tiles that values are summed over

struct TileScratch {
  AttentionScratch rows;    // output, maxima and denominators
  int key_depth;            // tiles that a score is summed over: dimensions, then
  int angle_depth;          // those of angles, in the ring
  int n_columns;            // tiles of kTile dimensions
  std::byte* queries;       // [row groups][key_depth + angle_depth] tiles, for the ring
  std::byte* sink_queries;  // [row groups][key_depth], for the sinks
  std::byte* keys;          // [kBlockTiles][key_depth + angle_depth] tiles
  std::byte* values;        // [n_columns][kValueDepth] tiles
  std::byte* weights;       // [2 row groups][kValueDepth] tiles
  float* scores;            // [2 * kTileRows][kBlockKeys]

  int ring_depth() const { return key_depth + angle_depth; }
};

constexpr int depth_of(int n_dims) { return (n_dims + kTileDepth - 1) / kTileDepth; }

static std::size_t tile_scratch_bytes(int head_dim) {
  const int key_depth = depth_of(head_dim);
  const int ring_depth = key_depth + depth_of(head_dim + 1);
  const int n_columns = (head_dim + kTile - 1) / kTile;
  const int n_tiles = kMaxQueryRows / kTileRows * (key_depth + ring_depth) +
                      kBlockTiles * ring_depth + (n_columns + 2) * kValueDepth;
  return float_scratch_bytes(head_dim) + static_cast<std::size_t>(n_tiles * kTileBytes) +
         sizeof(float) * 2 * kTileRows * kBlockKeys;
}

static TileScratch carve_tiles(std::byte* bytes, int head_dim, int n_angles) {
  TileScratch s = {.rows = carve(bytes, head_dim)};
  s.key_depth = depth_of(head_dim);
  s.angle_depth = depth_of(n_angles);
  s.n_columns = s.rows.width / kTile;
  std::byte* at = bytes + float_scratch_bytes(head_dim);
  const auto take = [&at](int n_tiles) {
    std::byte* const taken = at;
    at += n_tiles * kTileBytes;
    return taken;
  };
  s.queries = take(kMaxQueryRows / kTileRows * s.ring_depth());
  s.sink_queries = take(kMaxQueryRows / kTileRows * s.key_depth);
  s.keys = take(kBlockTiles * s.ring_depth());
  s.values = take(s.n_columns * kValueDepth);
  s.weights = take(2 * kValueDepth);
  s.scores = reinterpret_cast<float*>(at);
  return s;
}

// Row r of A tiles that lie [row group][depth].
RUNNEL_INLINE std::byte* row_of_tiles(std::byte* tiles, int r, int depth) {
  return tiles + r / kTileRows * depth * kTileBytes + r % kTileRows * 64;
}

RUNNEL_INLINE void fill_query(const float* query, int head_dim, std::byte* row) {
  for (int d = 0; d < head_dim; d += kTileDepth, row += kTileBytes)
    _mm512_storeu_si512(row, narrow_some(query + d, head_dim - d));
}

// Where the keys and values of place `place` of a block begin; values lie in rows of pairs.
RUNNEL_INLINE std::byte* keys_at(const TileScratch& s, int place) {
  return s.keys + place * s.ring_depth() * kTileBytes;
}
RUNNEL_INLINE std::byte* values_at(const TileScratch& s, int place, int column) {
  return s.values + column * kValueDepth * kTileBytes + place * kTileBytes / 2;
}

// Keys of n_dims dimensions as tiles, with zeros behind them.
template <typename Tile>
RUNNEL_INLINE void fill_keys(const Tile& tile, int n_dims, std::byte* row) {
  for (int first = 0; first < n_dims; first += kKeyBlock) {
    const auto& keys = tile.keys_from(first);
    const auto key = [&](int d) { return d < n_dims ? keys.key(d) : splat(0); };
    for (int d = first; d < first + kKeyBlock; d += 2, row += 64) {
      keys.fetch_key(d);
      keys.fetch_key(d + 1);
      _mm512_storeu_si512(row, pairs(key(d), key(d + 1)));
    }
  }
  for (int d = (n_dims + kKeyBlock - 1) / kKeyBlock * kKeyBlock; d % kTileDepth != 0; d += 2)
    _mm512_storeu_si512(std::exchange(row, row + 64), _mm512_setzero_si512());
}

// A tile of the cache to place `place` of the block.
template <typename Tile>
RUNNEL_INLINE void fill_block_tile(const Tile& tile, int place, int head_dim,
                                   const TileScratch& s) {
  fill_keys(tile, head_dim, keys_at(s, place));
  for (int column = 0; column < s.n_columns; ++column) {
    const int d = column * kTile;
    std::byte* row = values_at(s, place, column);
    for (int slot = 0; slot < kTile; slot += 2, row += 64) {
      tile.fetch_value(slot, d);
      tile.fetch_value(slot + 1, d);
      _mm512_storeu_si512(row, pairs(tile.value(slot, d), tile.value(slot + 1, d)));
    }
  }
}

// A tile that nobody sees: anything but a NaN would do.
static void clear_block_tile(int place, const TileScratch& s) {
  __builtin_memset(keys_at(s, place), 0, static_cast<std::size_t>(s.ring_depth() * kTileBytes));
  for (int column = 0; column < s.n_columns; ++column)
    __builtin_memset(values_at(s, place, column), 0, kTileBytes / 2);
}

// The part of a block that is visited.
struct Block {
  std::int64_t first;  // tiles
  std::int64_t last;
  std::int64_t weights_at;  // place of `first` in QueryRow::weights

  // Places that are worked on, from the first of the block; they go in pairs.
  int n_places() const { return static_cast<int>(last % kBlockTiles / 2 + 1) * 2; }
  std::int64_t tile_of(int place) const { return first / kBlockTiles * kBlockTiles + place; }
  // Among all tiles that are visited.
  template <bool kSinks>
  std::int64_t place_of(const Attention& a, int place) const {
    return kSinks ? tile_of(place) : a.n_sink_tiles() + tile_of(place) - a.oldest_tile;
  }
  bool visits(int place) const { return tile_of(place) >= first && tile_of(place) <= last; }
};

template <bool kSinks>
static void fill_block(const Attention& a, const Block& block, const TileScratch& s) {
  for (int place = 0; place < block.n_places(); ++place) {
    if (!block.visits(place)) {
      clear_block_tile(place, s);
      continue;
    }
    const std::int64_t at = block.place_of<kSinks>(a, place);
    const CacheTile tile = visited_tile(a, at);
    with_tile(tile, later_tile(a, at), a.head_dim,
              [&](const auto& stored) { fill_block_tile(stored, place, a.head_dim, s); });
    if (!kSinks && a.n_angles > 0)
      fill_keys(angle_tile(a, tile.index), a.n_angles,
                keys_at(s, place) + s.key_depth * kTileBytes);
  }
}

// Online softmax over kPlaces tiles of a block: weigh_tile() for them at once, and the weights to
// bfloat16. Dots of tiles that are not visited may be anything: nobody sees them.
template <bool kSinks, int kPlaces>
static void weigh_places(const Attention& a, const Block& block, const QueryRow& row, int r,
                         TileScratch& s) {
  float* const dots = s.scores + r % (2 * kTileRows) * kBlockKeys;
  const std::int64_t base = block.tile_of(0) * kTile;
  const TileView seen =
      kSinks ? view_of_sinks<kBlockKeys>(a, row, base) : view_of_ring<kBlockKeys>(a, row, base);
  Vec scores[kPlaces];
  Vec largest = splat(-__builtin_inff());
  repeat<kPlaces>([&](int place) __attribute__((always_inline)) {
    const int at = place * kTile;
    const TileView view = {seen.low - at, seen.high - at, seen.distance - static_cast<float>(at)};
    finish_scores(a, row, view, dots + at);
    scores[place] = load(dots + at);
    largest = max(largest, scores[place]);
    if (row.weights != nullptr && block.visits(place))
      store(row.weights + block.weights_at + base + at - block.first * kTile, scores[place]);
  });
  const float block_maximum = max_lane(largest);
  raise_maximum(s.rows, r, block_maximum);
  const Vec maximum = splat(s.rows.maxima[r]);
  const bool sees = block_maximum > -__builtin_inff();
  float* sums = s.rows.sums + r * kTile;
  Vec sum = load(sums);
  std::byte* narrowed = row_of_tiles(s.weights, r % (2 * kTileRows), kValueDepth);
  repeat<kPlaces / 2>([&](int pair) __attribute__((always_inline)) {
    const Vec even = sees ? exp(scores[2 * pair] - maximum) : splat(0);
    const Vec odd = sees ? exp(scores[2 * pair + 1] - maximum) : splat(0);
    sum = sum + even + odd;
    _mm512_storeu_si512(narrowed + pair * kTileBytes, narrow(even, odd));
  });
  store(sums, sum);
}
template <bool kSinks>
RUNNEL_INLINE void weigh_block(const Attention& a, const Block& block, const QueryRow& row, int r,
                               TileScratch& s) {
  block.n_places() == kBlockTiles ? weigh_places<kSinks, kBlockTiles>(a, block, row, r, s)
                                  : weigh_places<kSinks, kBlockTiles / 2>(a, block, row, r, s);
}

// A block of keys for the rows [first, first + n_rows) of a pair of row groups.
template <bool kSinks>
static void visit_rows(const Attention& a, const Block& block, const QueryRow* rows, int first,
                       int n_rows, TileScratch& s, TileUnit& unit) {
  const int depth = kSinks ? s.key_depth : s.ring_depth();
  const std::byte* queries = row_of_tiles(kSinks ? s.sink_queries : s.queries, first, depth);
  unit.multiply({.n_rows = n_rows,
                 .n_columns = block.n_places() * kTile,
                 .depth = depth,
                 .a = {queries, queries + depth * kTileBytes},
                 .a_step = {kTileBytes, kTileBytes},
                 .b = s.keys,
                 .b_step = s.ring_depth() * kTileBytes,
                 .c = s.scores,
                 .c_stride = kBlockKeys,
                 .is_first = true});
  for (int r = first; r < first + n_rows; ++r) weigh_block<kSinks>(a, block, rows[r], r, s);
  unit.multiply({.n_rows = n_rows,
                 .n_columns = s.n_columns * kTile,
                 .depth = block.n_places() / 2,
                 .a = {s.weights, s.weights + kValueDepth * kTileBytes},
                 .a_step = {kTileBytes, kTileBytes},
                 .b = s.values,
                 .b_step = kValueDepth * kTileBytes,
                 .c = s.rows.out + first * s.rows.width,
                 .c_stride = s.rows.width,
                 .is_first = false});
}

// Up to kDirectRows rows use each number once, so it is multiplied as soon as it is made bfloat16:
// the products and sums of visit_rows(), in its order.
template <typename Unit, int R, typename Tile>
RUNNEL_INLINE void add_score_pairs(const Tile& tile, int n_dims, const std::byte* queries,
                                   Vec* sums) {
  for (int first = 0; first < n_dims; first += kKeyBlock) {
    const int last = first + kKeyBlock < n_dims ? first + kKeyBlock : n_dims;
    const std::byte* row = queries + first / kTileDepth * kTileBytes + first % kTileDepth * 2;
    const auto& keys = tile.keys_from(first);
    for (int d = first; d < last; d += 2) {
      keys.fetch_key(d);
      keys.fetch_key(d + 1);
      const __m512i pair = pairs(keys.key(d), d + 1 < last ? keys.key(d + 1) : splat(0));
      for (int r = 0; r < R; ++r)
        sums[r] = Unit::add_pairs(sums[r], row + r * 64 + (d - first) * 2, pair);
    }
  }
}

template <typename Unit, int R, typename Tile>
RUNNEL_INLINE void add_value_pairs(const Tile& tile, const std::byte* weights, int n_columns,
                                   float* out, int width) {
  for (int column = 0; column < n_columns; ++column, out += kTile) {
    Vec sums[R];
    for (int r = 0; r < R; ++r) sums[r] = load(out + r * width);
    const std::byte* pair = weights;
    for (int slot = 0; slot < kTile; slot += 2, pair += 4) {
      tile.fetch_value(slot, column * kTile);
      tile.fetch_value(slot + 1, column * kTile);
      const __m512i values =
          pairs(tile.value(slot, column * kTile), tile.value(slot + 1, column * kTile));
      for (int r = 0; r < R; ++r) sums[r] = Unit::add_pairs(sums[r], pair + r * 64, values);
    }
    for (int r = 0; r < R; ++r) store(out + r * width, sums[r]);
  }
}

template <bool kSinks, typename Unit>
static void visit_few_rows(const Attention& a, const Block& block, const QueryRow* rows, int n_rows,
                           TileScratch& s) {
  std::byte* queries = kSinks ? s.sink_queries : s.queries;
  const int depth = kSinks ? s.key_depth : s.ring_depth();
  const auto each_tile = [&](auto f) __attribute__((always_inline)) {
    for (int place = 0; place < block.n_places(); ++place) {
      if (!block.visits(place)) continue;
      const std::int64_t at = block.place_of<kSinks>(a, place);
      with_tile(
          visited_tile(a, at), later_tile(a, at),
          a.head_dim, [&](const auto& tile) __attribute__((always_inline)) {
            for_each_row_group<kRowsTogether>(
                n_rows, [&](auto n, int r)
                            __attribute__((always_inline)) { f(tile, place, n, r); });
          });
    }
  };
  each_tile([&](const auto& tile, int place, auto n, int r) __attribute__((always_inline)) {
    constexpr int kRows = n;
    const std::byte* row = row_of_tiles(queries, r, depth);
    Vec sums[kRows];
    repeat<kRows>([&](int i) __attribute__((always_inline)) { sums[i] = splat(0); });
    add_score_pairs<Unit, kRows>(tile, a.head_dim, row, sums);
    if (!kSinks && a.n_angles > 0) {
      add_score_pairs<Unit, kRows>(angle_tile(a, block.tile_of(place) % a.ring.n_tiles), a.n_angles,
                                   row + s.key_depth * kTileBytes, sums);
    }
    float* scores = s.scores + r * kBlockKeys + place * kTile;
    repeat<kRows>([&](int i)
                      __attribute__((always_inline)) { store(scores + i * kBlockKeys, sums[i]); });
  });
  for (int r = 0; r < n_rows; ++r) weigh_block<kSinks>(a, block, rows[r], r, s);
  each_tile([&](const auto& tile, int place, auto n, int r) __attribute__((always_inline)) {
    const std::byte* weights =
        row_of_tiles(s.weights, r, kValueDepth) + place / 2 * kTileBytes + place % 2 * kTile * 2;
    add_value_pairs<Unit, n>(tile, weights, s.n_columns, s.rows.out + r * s.rows.width,
                             s.rows.width);
  });
}

// All rows over the tiles [first, last].
template <bool kSinks, typename Unit>
static void visit_blocks(const Attention& a, std::int64_t first, std::int64_t last,
                         const QueryRow* rows, int n_rows, std::int64_t weights_at, TileScratch& s,
                         Unit& unit) {
  Block block = {first, 0, weights_at};
  for (; block.first <= last; block.first = block.last + 1) {
    block.last = block.first / kBlockTiles * kBlockTiles + kBlockTiles - 1;
    if (block.last > last) block.last = last;
    block.weights_at = weights_at + (block.first - first) * kTile;
    if constexpr (Unit::kTakesPairs) {
      if (n_rows <= kDirectRows) {
        visit_few_rows<kSinks, Unit>(a, block, rows, n_rows, s);
        continue;
      }
    }
    fill_block<kSinks>(a, block, s);
    for (int row = 0; row < n_rows; row += 2 * kTileRows) {
      const int n = n_rows - row < 2 * kTileRows ? n_rows - row : 2 * kTileRows;
      visit_rows<kSinks>(a, block, rows, row, n, s, unit);
    }
  }
}

static void attend_in_tiles(const Attention& a, const QueryRow* rows, int n_rows,
                            std::byte* scratch) {
  if (a.ring.format == KvFormat::kF32) return attend_in_floats(a, rows, n_rows, scratch);
  TileScratch s = carve_tiles(scratch, a.head_dim, a.n_angles);
  const std::int64_t n_sink_tiles = a.n_sink_tiles();
  for (int r = 0; r < n_rows; ++r) {
    begin_row(rows[r], r, a.n_weights(), s.rows);
    std::byte* const query = row_of_tiles(s.queries, r, s.ring_depth());
    fill_query(rows[r].query, a.head_dim, query);
    fill_query(rows[r].query + a.head_dim, a.n_angles, query + s.key_depth * kTileBytes);
    fill_query(rows[r].sink_query, a.head_dim, row_of_tiles(s.sink_queries, r, s.key_depth));
  }
  TileUnit unit;
  visit_blocks<true>(a, 0, n_sink_tiles - 1, rows, n_rows, 0, s, unit);
  visit_blocks<false>(a, a.oldest_tile, a.newest_tile, rows, n_rows, n_sink_tiles * kTile, s, unit);
  for (int r = 0; r < n_rows; ++r) finish_row(rows[r], r, a.n_weights(), a.head_dim, s.rows);
}
