// Softmax attention over sinks and ring, a tile of 16 keys at a time, with a running maximum and
// denominator.

// Scratch of one call, carved from the caller's bytes. Rows are padded to whole vectors.
struct AttentionScratch {
  int width;      // head_dim rounded up to kTile
  float* keys;    // [head_dim, kTile]
  float* values;  // [kTile, width]
  float* out;     // [kMaxQueryRows, width]
  float* scores;  // [kMaxQueryRows, kTile]
  float* sums;    // [kMaxQueryRows, kTile]: the denominator, by lane
  float maxima[kMaxQueryRows];
};

static AttentionScratch carve(std::byte* bytes, int head_dim) {
  AttentionScratch s;
  s.width = (head_dim + kTile - 1) / kTile * kTile;
  s.keys = reinterpret_cast<float*>(bytes);
  s.values = s.keys + s.width * kTile;
  s.out = s.values + kTile * s.width;
  s.scores = s.out + kMaxQueryRows * s.width;
  s.sums = s.scores + kMaxQueryRows * kTile;
  return s;
}

static std::size_t float_scratch_bytes(int head_dim) {
  const std::size_t width = static_cast<std::size_t>((head_dim + kTile - 1) / kTile * kTile);
  return sizeof(float) * (width * kTile * 2 + kMaxQueryRows * width + 2 * kMaxQueryRows * kTile);
}

constexpr int kKeyBlock = kKvBlock;  // dimensions of keys that are read together
constexpr int kAnyDimensions = 1 << 20;

// A tile as it is read: 16 keys' dimension d, and dimensions [d, d + kTile) of one value. Who reads
// it once fetches a later tile meanwhile, line by line, for memory to be busy all the time.
template <typename Element>
struct StoredTile {
  static constexpr int kLine = 64 / sizeof(Element);  // elements of a line of cache
  const Element* keys;                                // [head_dim, kTile]
  const Element* values;                              // [kTile, head_dim]
  int head_dim;
  const Element* keys_ahead;  // of the tile to fetch
  const Element* values_ahead;

  RUNNEL_MEMBER Vec key(int d) const { return widen16(keys + d * kTile); }
  // For the kKeyBlock dimensions from d on.
  RUNNEL_MEMBER const StoredTile& keys_from(int /*d*/) const { return *this; }
  RUNNEL_MEMBER Vec value(int slot, int d) const {
    const Element* v = values + slot * head_dim + d;
    return d + kTile <= head_dim ? widen16(v) : widen_some(v, head_dim - d);
  }
  RUNNEL_MEMBER void fetch_key(int d) const {
    if (d * kTile % kLine == 0) fetch(keys_ahead + d * kTile);
  }
  RUNNEL_MEMBER void fetch_value(int slot, int d) const {
    if (d % kLine == 0) fetch(values_ahead + slot * head_dim + d);
  }
};

// Keys of some dimensions, that share a scale.
struct ScaledKeys {
  const StoredTile<std::int8_t>& quants;
  Vec scale;

  RUNNEL_MEMBER Vec key(int d) const { return quants.key(d) * scale; }
  RUNNEL_MEMBER void fetch_key(int d) const { quants.fetch_key(d); }
};

struct QuantisedTile {
  StoredTile<std::int8_t> quants;
  const std::uint16_t* key_scales;    // [n_blocks, kTile]
  const std::uint16_t* value_scales;  // [kTile, n_blocks]
  int n_blocks;

  RUNNEL_MEMBER ScaledKeys keys_from(int d) const {
    return {quants, load_half16(key_scales + d / 32 * kTile)};
  }
  Vec key(int d) const { return keys_from(d).key(d); }
  Vec value(int slot, int d) const {
    return quants.value(slot, d) *
           splat(static_cast<float>(half_value(value_scales[slot * n_blocks + d / 32])));
  }
  RUNNEL_MEMBER void fetch_key(int d) const { quants.fetch_key(d); }
  RUNNEL_MEMBER void fetch_value(int slot, int d) const { quants.fetch_value(slot, d); }
};

// Q4_0: codes of 4 bits, and a scale for 16 dimensions.
struct CodedTile {
  const std::uint8_t* keys;          // [ceil(head_dim / 2), kTile]
  const std::uint8_t* values;        // [kTile, value_bytes]
  const std::uint8_t* key_scales;    // [n_blocks, kTile]
  const std::uint8_t* value_scales;  // [kTile, n_blocks]
  int value_bytes;
  int n_blocks;
  const std::uint8_t* keys_ahead;  // of the tile to fetch
  const std::uint8_t* values_ahead;

  struct Keys {
    const CodedTile& tile;
    Vec scale;
    RUNNEL_MEMBER Vec key(int d) const { return tile.codes_of(d) * scale; }
    RUNNEL_MEMBER void fetch_key(int d) const { tile.fetch_key(d); }
  };

  RUNNEL_MEMBER Vec codes_of(int d) const {
    const std::uint8_t* pair = keys + d / 2 * kTile;
    return d % 2 == 0 ? load_codes16<0>(pair) : load_codes16<1>(pair);
  }
  RUNNEL_MEMBER Keys keys_from(int d) const {
    return {*this, load_scales16(key_scales + d / kKvBlock * kTile)};
  }
  Vec key(int d) const { return keys_from(d).key(d); }
  RUNNEL_MEMBER Vec value(int slot, int d) const {
    const std::uint8_t* codes = values + slot * value_bytes + d / 32 * 16;
    const std::uint16_t scale = value_scales[slot * n_blocks + d / kKvBlock];
    const Vec numbers = d % 32 == 0 ? load_codes16<0>(codes) : load_codes16<1>(codes);
    return numbers * splat(half_value(static_cast<std::uint16_t>(scale << 8)) * 0x1p-7f);
  }
  RUNNEL_MEMBER void fetch_key(int d) const {
    if (d % 8 == 0) fetch(keys_ahead + d / 2 * kTile);
  }
  RUNNEL_MEMBER void fetch_value(int slot, int d) const {
    const int at = slot * value_bytes + d / 2;
    if (d % 32 == 0 && at % 64 == 0) fetch(values_ahead + at);
  }
};

struct WidenedTile {
  const float* keys;    // [head_dim, kTile]
  const float* values;  // [kTile, width]
  int width;

  RUNNEL_MEMBER Vec key(int d) const { return load(keys + d * kTile); }
  RUNNEL_MEMBER const WidenedTile& keys_from(int /*d*/) const { return *this; }
  Vec value(int slot, int d) const { return load(values + slot * width + d); }
  static void fetch_key(int /*d*/) {}
  static void fetch_value(int /*slot*/, int /*d*/) {}
};

// A tile of an area of the cache.
struct CacheTile {
  const KvArea* area;
  std::int64_t index;
};

constexpr std::int64_t kTilesAhead = 4;

// Tile `at` of those that are visited, the sinks' before the ring's.
RUNNEL_INLINE CacheTile visited_tile(const Attention& a, std::int64_t at) {
  const std::int64_t of_ring = at - a.n_sink_tiles();
  if (of_ring < 0) return {&a.sinks, at % a.sinks.n_tiles};
  return {&a.ring, (a.oldest_tile + of_ring) % a.ring.n_tiles};
}
// The one to fetch meanwhile: of those that come next, too. Where there is none, `at` itself.
RUNNEL_INLINE CacheTile later_tile(const Attention& a, std::int64_t at) {
  std::int64_t later = at + kTilesAhead;
  const std::int64_t n_tiles = a.n_sink_tiles() + a.n_window_tiles();
  if (later < n_tiles) return visited_tile(a, later);
  if (a.next == nullptr || a.next->ring.format != a.ring.format) return visited_tile(a, at);
  later -= n_tiles;
  const std::int64_t n_next = a.next->n_sink_tiles() + a.next->n_window_tiles();
  return later < n_next ? visited_tile(*a.next, later) : visited_tile(a, at);
}

template <typename Element>
RUNNEL_INLINE StoredTile<Element> stored_tile(const CacheTile& tile, const CacheTile& later,
                                              int head_dim) {
  const auto at = [&](const CacheTile& t, const std::byte* begin) __attribute__((always_inline)) {
    return reinterpret_cast<const Element*>(begin) + t.index * kTile * head_dim;
  };
  return {at(tile, tile.area->keys), at(tile, tile.area->values), head_dim,
          at(later, later.area->keys), at(later, later.area->values)};
}

RUNNEL_INLINE CodedTile coded_tile(const CacheTile& tile, const CacheTile& later, int head_dim) {
  const int key_bytes = (head_dim + 1) / 2 * kTile;
  const int value_bytes = (head_dim + 31) / 32 * 16;
  const int n_blocks = (head_dim + kKvBlock - 1) / kKvBlock;
  const KvArea& area = *tile.area;
  const auto at = [](const void* p, std::int64_t n) {
    return static_cast<const std::uint8_t*>(p) + n;
  };
  return {at(area.keys, tile.index * key_bytes),
          at(area.values, tile.index * kTile * value_bytes),
          at(area.key_scales, tile.index * n_blocks * kTile),
          at(area.value_scales, tile.index * kTile * n_blocks),
          value_bytes,
          n_blocks,
          at(later.area->keys, later.index * key_bytes),
          at(later.area->values, later.index * kTile * value_bytes)};
}

// Calls f with a tile of any format; `later`, of the same, is to be fetched meanwhile.
template <typename F>
RUNNEL_INLINE void with_tile(const CacheTile& tile, const CacheTile& later, int head_dim, F f) {
  const int n_blocks = (head_dim + 31) / 32;
  const KvArea& area = *tile.area;
  switch (area.format) {
    case KvFormat::kF32:
      return f(stored_tile<float>(tile, later, head_dim));
    case KvFormat::kF16:
      return f(stored_tile<Half>(tile, later, head_dim));
    case KvFormat::kBF16:
      return f(stored_tile<Bfloat>(tile, later, head_dim));
    case KvFormat::kQ8_0:
      return f(QuantisedTile{stored_tile<std::int8_t>(tile, later, head_dim),
                             area.key_scales + tile.index * n_blocks * kTile,
                             area.value_scales + tile.index * kTile * n_blocks, n_blocks});
    case KvFormat::kQ4_0:
      return f(coded_tile(tile, later, head_dim));
  }
}

// The angles of a tile of the ring, as keys.
RUNNEL_INLINE StoredTile<Half> angle_tile(const Attention& a, std::int64_t tile) {
  const std::int64_t ahead = (tile + kTilesAhead) % a.ring.n_tiles - tile;
  const auto* angles = reinterpret_cast<const Half*>(a.angles) + tile * a.n_angles * kTile;
  return {angles, nullptr, a.n_angles, angles + ahead * a.n_angles * kTile, nullptr};
}

template <typename Tile>
RUNNEL_INLINE WidenedTile widen_tile(const Tile& tile, int head_dim, const AttentionScratch& s) {
  for (int d = 0; d < head_dim; ++d) store(s.keys + d * kTile, tile.key(d));
  for (int slot = 0; slot < kTile; ++slot) {
    for (int d = 0; d < s.width; d += kTile) {
      store(s.values + slot * s.width + d, tile.value(slot, d));
    }
  }
  return {s.keys, s.values, s.width};
}

// Query rows whose sums stay in registers together: with numbers that are made on the way, and with
// those of a widened tile, beside a key and a number of a query.
constexpr int kRowsTogether = kRegisters / (2 * kParts) < 8 ? kRegisters / (2 * kParts) : 8;
constexpr int kWidenedRows = kRegisters == 16 && kParts == 2 ? 6 : kRowsTogether;
static_assert((kWidenedRows + 1) * kParts < kRegisters);

// Dot products of R queries with the dimensions first, first + kStep, ... of the 16 keys of a tile.
template <int R, int kStep, typename Tile>
RUNNEL_INLINE void score_dimensions(const float* const* queries, int head_dim, int first,
                                    const Tile& tile, Vec* sums) {
  repeat<R>([&](int r) __attribute__((always_inline)) { sums[r] = splat(0); });
  constexpr int kBlock = std::is_same_v<Tile, WidenedTile> ? kAnyDimensions : kKeyBlock;
  for (int block = 0; block < head_dim; block += kBlock) {
    const auto& keys = tile.keys_from(block);
    const int last = block + kBlock < head_dim ? block + kBlock : head_dim;
    for (int d = block + first; d < last; d += kStep) {
      keys.fetch_key(d);
      const Vec key = keys.key(d);
      repeat<R>([&](int r) __attribute__((always_inline)) {
        sums[r] = multiply_add(splat(queries[r][d]), key, sums[r]);
      });
    }
  }
}

// Dot products of R queries with the 16 keys of a tile; even and odd dimensions in two chains, at
// once if the registers hold both.
template <int R, typename Tile>
RUNNEL_INLINE void score_rows(const float* const* queries, int head_dim, const Tile& tile,
                              float* scores) {
  Vec even[R];
  Vec odd[R];
  if constexpr (2 * R * kParts > kRegisters / 2) {
    score_dimensions<R, 2>(queries, head_dim, 0, tile, even);
    repeat<R>([&](int r) __attribute__((always_inline)) { store(scores + r * kTile, even[r]); });
    score_dimensions<R, 2>(queries, head_dim, 1, tile, odd);
    repeat<R>([&](int r) __attribute__((always_inline)) {
      store(scores + r * kTile, load(scores + r * kTile) + odd[r]);
    });
    return;
  }
  for (int r = 0; r < R; ++r) even[r] = odd[r] = splat(0);
  for (int block = 0; block < head_dim; block += kKeyBlock) {
    const auto& keys = tile.keys_from(block);
    const int last = block + kKeyBlock < head_dim ? block + kKeyBlock : head_dim;
    for (int d = block; d + 1 < last; d += 2) {
      keys.fetch_key(d);
      keys.fetch_key(d + 1);
      const Vec key0 = keys.key(d);
      const Vec key1 = keys.key(d + 1);
      for (int r = 0; r < R; ++r) {
        even[r] = multiply_add(splat(queries[r][d]), key0, even[r]);
        odd[r] = multiply_add(splat(queries[r][d + 1]), key1, odd[r]);
      }
    }
  }
  if (head_dim % 2 != 0) {
    const Vec key = tile.key(head_dim - 1);
    for (int r = 0; r < R; ++r)
      even[r] = multiply_add(splat(queries[r][head_dim - 1]), key, even[r]);
  }
  for (int r = 0; r < R; ++r) store(scores + r * kTile, even[r] + odd[r]);
}

// The keys [low, high] of a tile (or more) that a row sees, and its distance to the first.
struct TileView {
  int low;
  int high;
  float distance;
};

template <int kKeys>
RUNNEL_INLINE TileView view_of(std::int64_t low, std::int64_t high, std::int64_t distance) {
  return {static_cast<int>(low < 0       ? 0
                           : low > kKeys ? kKeys
                                         : low),
          static_cast<int>(high < -1       ? -1
                           : high >= kKeys ? kKeys - 1
                                           : high),
          static_cast<float>(distance)};
}
// Of the kKeys sinks, or positions of the ring, from `base` on.
template <int kKeys>
RUNNEL_INLINE TileView view_of_sinks(const Attention& a, const QueryRow& row, std::int64_t base) {
  const std::int64_t newest = row.position < a.n_sinks - 1 ? row.position : a.n_sinks - 1;
  return view_of<kKeys>(row.cache_position - a.sink_reach - base, newest - base,
                        row.cache_position - base);
}
template <int kKeys>
RUNNEL_INLINE TileView view_of_ring(const Attention& a, const QueryRow& row, std::int64_t base) {
  const std::int64_t oldest = row.position - a.window > a.first ? row.position - a.window : a.first;
  return view_of<kKeys>(oldest - base, row.position - base, row.position - base);
}

// What few rows need is out of line, so that the numbers of the others stay in registers.
#define RUNNEL_SELDOM static __attribute__((noinline))

// Caps and biases of 16 scores, and -inf where the row does not see.
RUNNEL_SELDOM void adjust_scores(const Attention& a, const QueryRow& row, const TileView& view,
                                 float* out) {
  Vec scores = load(out);
  if (a.softcap > 0) scores = splat(a.softcap) * tanh(scores / splat(a.softcap));
  const Vec lanes = lane_numbers();
  if (row.bias_slope != 0) scores = scores - splat(row.bias_slope) * (splat(view.distance) - lanes);
  const float low = static_cast<float>(view.low);
  const float high = static_cast<float>(view.high);
  RUNNEL_EACH_PART {
    const native_int seen = (lanes.part[i] >= native{} + low) & (lanes.part[i] <= native{} + high);
    scores.part[i] = seen ? scores.part[i] : native{} - __builtin_inff();
  }
  store(out, scores);
}

// 16 raw dot products to scores: scale, cap, bias, and -inf where the row does not see. In memory:
// vectors of several parts that two ways meet with would go through it in pieces.
RUNNEL_INLINE void finish_scores(const Attention& a, const QueryRow& row, const TileView& view,
                                 float* scores) {
  store(scores, load(scores) * splat(a.scale));
  const bool sees_all = view.low <= 0 && view.high >= kTile - 1;
  if (!sees_all || a.softcap > 0 || row.bias_slope != 0) adjust_scores(a, row, view, scores);
}

// A row's maximum becomes `largest`, and what it has summed shrinks with it.
RUNNEL_SELDOM void shrink_row(AttentionScratch& s, int row, float largest) {
  const Vec shrink = exp(splat(s.maxima[row] - largest));
  s.maxima[row] = largest;
  float* sum = s.sums + row * kTile;
  store(sum, load(sum) * shrink);
  float* out = s.out + row * s.width;
  for (int d = 0; d < s.width; d += kTile) store(out + d, load(out + d) * shrink);
}
RUNNEL_INLINE void raise_maximum(AttentionScratch& s, int row, float largest) {
  if (largest > s.maxima[row]) shrink_row(s, row, largest);
}

// Online softmax: takes a tile's scores into a row's maximum and denominator, and leaves the tile's
// weights in place of the scores.
RUNNEL_INLINE void weigh_tile(AttentionScratch& s, int row) {
  const Vec scores = load(s.scores + row * kTile);
  raise_maximum(s, row, max_lane(scores));
  const Vec weights = exp(scores - splat(s.maxima[row]));
  float* sum = s.sums + row * kTile;
  store(sum, load(sum) + weights);
  store(s.scores + row * kTile, weights);
}

// Adds a tile's values to R rows' outputs, key after key; D vectors of a row side by side, for a
// single row would wait for its own sums.
template <int R, int D, typename Tile>
RUNNEL_INLINE void add_values_at(const AttentionScratch& s, int row, const Tile& tile, int d) {
  const float* weights = s.scores + row * kTile;
  float* out = s.out + row * s.width + d;
  Vec acc[R][D];
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < D; ++i) acc[r][i] = load(out + r * s.width + i * kTile);
  }
  for (int slot = 0; slot < kTile; ++slot) {
    for (int i = 0; i < D; ++i) {
      tile.fetch_value(slot, d + i * kTile);
      const Vec value = tile.value(slot, d + i * kTile);
      for (int r = 0; r < R; ++r)
        acc[r][i] = multiply_add(splat(weights[r * kTile + slot]), value, acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < D; ++i) store(out + r * s.width + i * kTile, acc[r][i]);
  }
}
template <int R, typename Tile>
RUNNEL_INLINE void add_values(const AttentionScratch& s, int row, const Tile& tile) {
  constexpr int kVectors = R < 4 ? 4 / R : 1;
  int d = 0;
  for (; d + kVectors * kTile <= s.width; d += kVectors * kTile)
    add_values_at<R, kVectors>(s, row, tile, d);
  for (; d < s.width; d += kTile) add_values_at<R, 1>(s, row, tile, d);
}

// Calls f(number of rows, first row), the number a constant, up to kMost.
template <int kMost, typename F>
RUNNEL_INLINE void for_each_row_group(int n_rows, F f) {
  int r = 0;
  if constexpr (kMost >= 8)
    for (; r + 8 <= n_rows; r += 8) f(std::integral_constant<int, 8>{}, r);
  if constexpr (kMost == 6)
    for (; r + 6 <= n_rows; r += 6) f(std::integral_constant<int, 6>{}, r);
  if constexpr (kMost >= 4)
    for (; r + 4 <= n_rows; r += 4) f(std::integral_constant<int, 4>{}, r);
  for (; r + 2 <= n_rows; r += 2) f(std::integral_constant<int, 2>{}, r);
  if (r < n_rows) f(std::integral_constant<int, 1>{}, r);
}

// What all rows make of one tile.
struct TileTask {
  const Attention& attention;
  const QueryRow* rows;
  int n_rows;
  std::int64_t weights_at;      // place of the tile in QueryRow::weights
  int n_angles;                 // that the tile's keys go on with
  const float* const* queries;  // [n_rows]
  const TileView* views;        // [n_rows]

  bool sees(int first, int n) const {  // whether one of n rows sees some of the tile
    for (int r = first; r < first + n; ++r) {
      if (views[r].low <= views[r].high) return true;
    }
    return false;
  }
};

// The part of the scores that the angles of a tile make.
static void add_angles(const TileTask& t, const StoredTile<Half>& angles, AttentionScratch& s) {
  for_each_row_group<kRowsTogether>(
      t.n_rows, [&](auto n, int first) __attribute__((always_inline)) {
        constexpr int kRows = n;
        const float* queries[kRows];
        for (int r = 0; r < kRows; ++r) queries[r] = t.queries[first + r] + t.attention.head_dim;
        float more[kRows * kTile];
        score_rows<kRows>(queries, t.n_angles, angles, more);
        float* scores = s.scores + first * kTile;
        for (int r = 0; r < kRows; ++r)
          store(scores + r * kTile, load(scores + r * kTile) + load(more + r * kTile));
      });
}

template <typename Tile>
RUNNEL_INLINE void attend_tile(const TileTask& t, const Tile& tile, std::int64_t index,
                               AttentionScratch& s) {
  constexpr int kMost = std::is_same_v<Tile, WidenedTile> ? kWidenedRows : kRowsTogether;
  for_each_row_group<kMost>(
      t.n_rows, [&](auto n, int r) __attribute__((always_inline)) {
        if (t.sees(r, n))
          score_rows<n>(t.queries + r, t.attention.head_dim, tile, s.scores + r * kTile);
      });
  if (t.n_angles > 0) add_angles(t, angle_tile(t.attention, index), s);
  for (int r = 0; r < t.n_rows; ++r) {
    float* scores_of_row = s.scores + r * kTile;
    if (t.views[r].low > t.views[r].high) {
      store(scores_of_row, splat(0));
      continue;
    }
    finish_scores(t.attention, t.rows[r], t.views[r], scores_of_row);
    if (t.rows[r].weights != nullptr) store(t.rows[r].weights + t.weights_at, load(scores_of_row));
    weigh_tile(s, r);
  }
  for_each_row_group<kMost>(
      t.n_rows, [&](auto n, int r) __attribute__((always_inline)) {
        if (t.sees(r, n)) add_values<n>(s, r, tile);
      });
}

// Up to kDirectRows rows use each number of a tile once, as it is read; more of them share a
// widened copy.
constexpr int kDirectRows = 8;

template <bool kSinks>
static void visit_tile(const Attention& a, std::int64_t tile, const QueryRow* rows, int n_rows,
                       AttentionScratch& s, std::int64_t weights_at) {
  const float* queries[kMaxQueryRows];
  TileView views[kMaxQueryRows];
  for (int r = 0; r < n_rows; ++r) {
    queries[r] = kSinks ? rows[r].sink_query : rows[r].query;
    views[r] = kSinks ? view_of_sinks<kTile>(a, rows[r], tile * kTile)
                      : view_of_ring<kTile>(a, rows[r], tile * kTile);
  }
  const TileTask task = {.attention = a,
                         .rows = rows,
                         .n_rows = n_rows,
                         .weights_at = weights_at,
                         .n_angles = kSinks ? 0 : a.n_angles,
                         .queries = queries,
                         .views = views};
  if (!task.sees(0, n_rows)) return;
  const std::int64_t at = kSinks ? tile : a.n_sink_tiles() + tile - a.oldest_tile;
  const CacheTile visited = visited_tile(a, at);
  const std::int64_t index = visited.index;
  with_tile(
      visited, later_tile(a, at),
      a.head_dim, [&](const auto& stored) __attribute__((always_inline)) {
        if (n_rows <= kDirectRows) return attend_tile(task, stored, index, s);
        attend_tile(task, widen_tile(stored, a.head_dim, s), index, s);
      });
}

RUNNEL_INLINE void begin_row(const QueryRow& row, int r, std::int64_t n_weights,
                             AttentionScratch& s) {
  for (int d = 0; d < s.width; ++d) s.out[r * s.width + d] = 0;
  for (int i = 0; i < kTile; ++i) s.sums[r * kTile + i] = 0;
  s.maxima[r] = row.sink_logit;
  if (row.sink_logit > -__builtin_inff()) s.sums[r * kTile] = 1;  // exp(sink_logit - maximum)
  for (std::int64_t i = 0; row.weights != nullptr && i < n_weights; ++i)
    row.weights[i] = -__builtin_inff();
}

RUNNEL_INLINE void finish_row(const QueryRow& row, int r, std::int64_t n_weights, int head_dim,
                              AttentionScratch& s) {
  const float sum = sum_lanes(load(s.sums + r * kTile));
  if (row.sums != nullptr) *row.sums = {s.maxima[r], sum};
  const Vec inverse = splat(1.0f / sum);
  float* out = s.out + r * s.width;
  for (int d = 0; d < s.width; d += kTile) store(out + d, load(out + d) * inverse);
  for (int d = 0; d < head_dim; ++d) row.out[d] = out[d];
  for (std::int64_t i = 0; row.weights != nullptr && i < n_weights; i += kTile) {
    store(row.weights + i, exp(load(row.weights + i) - splat(s.maxima[r])) * inverse);
  }
}

static void attend_in_floats(const Attention& a, const QueryRow* rows, int n_rows,
                             std::byte* scratch) {
  AttentionScratch s = carve(scratch, a.head_dim);
  const std::int64_t n_sink_tiles = a.n_sink_tiles();
  for (int r = 0; r < n_rows; ++r) begin_row(rows[r], r, a.n_weights(), s);
  for (std::int64_t tile = 0; tile < n_sink_tiles; ++tile) {
    visit_tile<true>(a, tile, rows, n_rows, s, tile * kTile);
  }
  for (std::int64_t tile = a.oldest_tile; tile <= a.newest_tile; ++tile) {
    visit_tile<false>(a, tile, rows, n_rows, s, (n_sink_tiles + tile - a.oldest_tile) * kTile);
  }
  for (int r = 0; r < n_rows; ++r) finish_row(rows[r], r, a.n_weights(), a.head_dim, s);
}
