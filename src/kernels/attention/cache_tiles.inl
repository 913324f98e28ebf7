// Tiles of 16 keys and values as the cache stores them, read as floats.

constexpr int kKeyBlock = kKvBlock;  // dimensions of keys that are read together

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
