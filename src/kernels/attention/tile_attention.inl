// Softmax attention on tiles: keys pass in blocks of 64 positions, made bfloat16 once for all rows.
//
//   scores [rows][64]  = queries [rows][head_dim] * keys [head_dim][64]
//   out [rows][width] += weights [rows][64] * values [64][width]
//
// A cache of floats is attended to in floats.

constexpr int kValueDepth = kBlockKeys / kTileDepth;  // tiles that values are summed over

struct TileScratch {
  SoftmaxRows rows;
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
  const std::size_t bytes = softmax_bytes(head_dim) +
                            static_cast<std::size_t>(n_tiles * kTileBytes) +
                            sizeof(float) * 2 * kTileRows * kBlockKeys;
  const std::size_t of_floats = float_scratch_bytes(head_dim);
  return bytes > of_floats ? bytes : of_floats;
}

static TileScratch carve_tiles(std::byte* bytes, int head_dim, int n_angles) {
  TileScratch s = {.rows = carve_rows(bytes, head_dim)};
  s.key_depth = depth_of(head_dim);
  s.angle_depth = depth_of(n_angles);
  s.n_columns = s.rows.width / kTile;
  std::byte* at = bytes + softmax_bytes(head_dim);
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

// Places of a block that are worked on, from its first; they go in pairs.
static int n_places(const Block& block) { return (block.last_place() / 2 + 1) * 2; }

template <bool kSinks>
static void fill_block(const Attention& a, const Block& block, const TileScratch& s) {
  for (int place = 0; place < n_places(block); ++place) {
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

// Online softmax over kPlaces tiles of a block, and the weights to bfloat16. Dots of tiles that are
// not visited may be anything: nobody sees them.
template <bool kSinks, int kPlaces>
static void weigh_places(const Attention& a, const Block& block, const QueryRow& row, int r,
                         TileScratch& s) {
  float* const dots = s.scores + r % (2 * kTileRows) * kBlockKeys;
  const TileView seen = view_of_block<kSinks>(a, row, block);
  Vec scores[kPlaces];
  Vec largest = splat(-__builtin_inff());
  repeat<kPlaces>([&](int place) __attribute__((always_inline)) {
    finish_place(a, row, seen, place, dots);
    scores[place] = load(dots + place * kTile);
    largest = max(largest, scores[place]);
  });
  if (row.weights != nullptr) keep_scores(row, block, dots);
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
  n_places(block) == kBlockTiles ? weigh_places<kSinks, kBlockTiles>(a, block, row, r, s)
                                 : weigh_places<kSinks, kBlockTiles / 2>(a, block, row, r, s);
}

// A block of keys for the rows [first, first + n_rows) of a pair of row groups.
template <bool kSinks>
static void visit_rows(const Attention& a, const Block& block, const QueryRow* rows, int first,
                       int n_rows, TileScratch& s, TileUnit& unit) {
  const int depth = kSinks ? s.key_depth : s.ring_depth();
  const std::byte* queries = row_of_tiles(kSinks ? s.sink_queries : s.queries, first, depth);
  unit.multiply({.n_rows = n_rows,
                 .n_columns = n_places(block) * kTile,
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
                 .depth = n_places(block) / 2,
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
    for_each_tile<kSinks>(
        a, block, [&](const auto& tile, int place) __attribute__((always_inline)) {
          for_each_row_group<kRowsTogether>(
              n_rows, [&](auto n, int r) __attribute__((always_inline)) { f(tile, place, n, r); });
        });
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

template <bool kSinks, typename Unit>
static void visit_blocks(const Attention& a, const QueryRow* rows, int n_rows, TileScratch& s,
                         Unit& unit) {
  for_each_block<kSinks>(a, [&](const Block& block) {
    if constexpr (Unit::kTakesPairs) {
      if (n_rows <= kDirectRows) return visit_few_rows<kSinks, Unit>(a, block, rows, n_rows, s);
    }
    fill_block<kSinks>(a, block, s);
    for (int row = 0; row < n_rows; row += 2 * kTileRows) {
      const int n = n_rows - row < 2 * kTileRows ? n_rows - row : 2 * kTileRows;
      visit_rows<kSinks>(a, block, rows, row, n, s, unit);
    }
  });
}

static void attend_in_tiles(const Attention& a, const QueryRow* rows, int n_rows,
                            std::byte* scratch) {
  if (a.ring.format == KvFormat::kF32) return attend_in_floats(a, rows, n_rows, scratch);
  TileScratch s = carve_tiles(scratch, a.head_dim, a.n_angles);
  for (int r = 0; r < n_rows; ++r) {
    begin_row(rows[r], r, a.n_weights(), s.rows);
    std::byte* const query = row_of_tiles(s.queries, r, s.ring_depth());
    fill_query(rows[r].query, a.head_dim, query);
    fill_query(rows[r].query + a.head_dim, a.n_angles, query + s.key_depth * kTileBytes);
    fill_query(rows[r].sink_query, a.head_dim, row_of_tiles(s.sink_queries, r, s.key_depth));
  }
  TileUnit unit;
  visit_blocks<true>(a, rows, n_rows, s, unit);
  visit_blocks<false>(a, rows, n_rows, s, unit);
  for (int r = 0; r < n_rows; ++r) finish_row(rows[r], r, a.n_weights(), a.head_dim, s.rows);
}
