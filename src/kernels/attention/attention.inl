// Softmax attention in floats, a block of 64 keys at a time: scores of all rows, their weights, and
// values. Up to kDirectRows rows use each number of a tile once, as it is read; more of them share
// widened copies, of a tile's keys and then of some dimensions of the block's values, which stay in
// the first level of cache while rows pass. The bits are the same.

constexpr int kDirectRows = 8;
constexpr int kValueDims = 4 * kTile;

// Scratch of one call, carved from the caller's bytes.
struct AttentionScratch {
  SoftmaxRows rows;
  float* scores;  // [kMaxQueryRows, kBlockKeys], then weights
  float* keys;    // [head_dim, kTile]
  float* values;  // [kValueDims / kTile, kBlockKeys, kTile]
};

static std::size_t float_scratch_bytes(int head_dim) {
  const auto width = static_cast<std::size_t>(padded_width(head_dim));
  return softmax_bytes(head_dim) +
         sizeof(float) * (kBlockKeys * (kMaxQueryRows + kValueDims) + kTile * width);
}

static AttentionScratch carve(std::byte* bytes, int head_dim) {
  AttentionScratch s;
  s.rows = carve_rows(bytes, head_dim);
  s.scores = reinterpret_cast<float*>(bytes + softmax_bytes(head_dim));
  s.keys = s.scores + kMaxQueryRows * kBlockKeys;
  s.values = s.keys + kTile * s.rows.width;
  return s;
}

struct WidenedKeys {
  const float* keys;  // [head_dim, kTile]

  RUNNEL_MEMBER Vec key(int d) const { return load(keys + d * kTile); }
  RUNNEL_MEMBER const WidenedKeys& keys_from(int /*d*/) const { return *this; }
  static void fetch_key(int /*d*/) {}
};
struct WidenedValues {
  const float* values;  // [kValueDims / kTile, kBlockKeys, kTile], from some key on
  int first;            // dimension

  RUNNEL_MEMBER Vec value(int slot, int d) const {
    return load(values + (d - first) * kBlockKeys + slot * kTile);
  }
  static void fetch_value(int /*slot*/, int /*d*/) {}
};

template <typename Tile>
RUNNEL_INLINE void widen_keys(const Tile& tile, int head_dim, float* keys) {
  for (int d = 0; d < head_dim; ++d) store(keys + d * kTile, tile.key(d));
}
// The dimensions [first, last) of a tile's values.
template <typename Tile>
RUNNEL_INLINE void widen_values(const Tile& tile, int first, int last, float* values) {
  for (int d = first; d < last; d += kTile, values += kBlockKeys * kTile) {
    for (int slot = 0; slot < kTile; ++slot) store(values + slot * kTile, tile.value(slot, d));
  }
}

// Query rows whose sums stay in registers together: with numbers that are made on the way, and with
// those of a widened block, beside a key and a number of a query.
constexpr int kRowsTogether = kRegisters / (2 * kParts) < 8 ? kRegisters / (2 * kParts) : 8;
constexpr int kWidenedRows = kRegisters == 16 && kParts == 2 ? 6 : kRowsTogether;
static_assert((kWidenedRows + 1) * kParts < kRegisters);

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
  const int rest = n_rows - r;
  if (rest == 3) return f(std::integral_constant<int, 3>{}, r);
  for (; r + 2 <= n_rows; r += 2) f(std::integral_constant<int, 2>{}, r);
  if (r < n_rows) f(std::integral_constant<int, 1>{}, r);
}

constexpr int kAnyDimensions = 1 << 20;

// Dot products of R queries with the dimensions first, first + kStep, ... of the 16 keys of a tile.
template <int R, int kStep, typename Tile>
RUNNEL_INLINE void score_dimensions(const float* const* queries, int head_dim, int first,
                                    const Tile& tile, Vec* sums) {
  repeat<R>([&](int r) __attribute__((always_inline)) { sums[r] = splat(0); });
  constexpr int kBlock = std::is_same_v<Tile, WidenedKeys> ? kAnyDimensions : kKeyBlock;
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

// Dot products of R queries with the 16 keys of a tile, rows of scores kBlockKeys apart; even and
// odd dimensions in two chains, at once if the registers hold both.
template <int R, typename Tile>
RUNNEL_INLINE void score_rows(const float* const* queries, int head_dim, const Tile& tile,
                              float* scores) {
  Vec even[R];
  Vec odd[R];
  if constexpr (2 * R * kParts + kParts + 1 > kRegisters) {
    score_dimensions<R, 2>(queries, head_dim, 0, tile, even);
    repeat<R>([&](int r)
                  __attribute__((always_inline)) { store(scores + r * kBlockKeys, even[r]); });
    score_dimensions<R, 2>(queries, head_dim, 1, tile, odd);
    repeat<R>([&](int r) __attribute__((always_inline)) {
      store(scores + r * kBlockKeys, load(scores + r * kBlockKeys) + odd[r]);
    });
    return;
  }
  repeat<R>([&](int r) __attribute__((always_inline)) { even[r] = odd[r] = splat(0); });
  for (int block = 0; block < head_dim; block += kKeyBlock) {
    const auto& keys = tile.keys_from(block);
    const int last = block + kKeyBlock < head_dim ? block + kKeyBlock : head_dim;
    for (int d = block; d + 1 < last; d += 2) {
      keys.fetch_key(d);
      keys.fetch_key(d + 1);
      const Vec key0 = keys.key(d);
      repeat<R>([&](int r) __attribute__((always_inline)) {
        even[r] = multiply_add(splat(queries[r][d]), key0, even[r]);
      });
      const Vec key1 = keys.key(d + 1);
      repeat<R>([&](int r) __attribute__((always_inline)) {
        odd[r] = multiply_add(splat(queries[r][d + 1]), key1, odd[r]);
      });
    }
  }
  if (head_dim % 2 != 0) {
    const Vec key = tile.key(head_dim - 1);
    repeat<R>([&](int r) __attribute__((always_inline)) {
      even[r] = multiply_add(splat(queries[r][head_dim - 1]), key, even[r]);
    });
  }
  repeat<R>([&](int r) __attribute__((always_inline)) {
    store(scores + r * kBlockKeys, even[r] + odd[r]);
  });
}

// Adds the values of n_keys keys to R rows' outputs, key after key; D vectors of a row side by
// side, for a single row would wait for its own sums.
template <int R, int D, typename Values>
RUNNEL_INLINE void add_values_at(const SoftmaxRows& s, int row, const float* weights,
                                 const Values& values, int n_keys, int d) {
  float* out = s.out + row * s.width + d;
  Vec acc[R * D];
  const auto each_sum = [&](auto f) __attribute__((always_inline)) {
    repeat<R * D>([&](int i) __attribute__((always_inline)) { f(acc[i], i / D, i % D); });
  };
  each_sum([&](Vec & sum, int r, int i)
               __attribute__((always_inline)) { sum = load(out + r * s.width + i * kTile); });
  for (int slot = 0; slot < n_keys; ++slot) {
    repeat<D>([&](int i) __attribute__((always_inline)) {
      values.fetch_value(slot, d + i * kTile);
      const Vec value = values.value(slot, d + i * kTile);
      repeat<R>([&](int r) __attribute__((always_inline)) {
        acc[r * D + i] = multiply_add(splat(weights[r * kBlockKeys + slot]), value, acc[r * D + i]);
      });
    });
  }
  each_sum([&](const Vec& sum, int r, int i)
               __attribute__((always_inline)) { store(out + r * s.width + i * kTile, sum); });
}
// For the dimensions [d, end). `weights`: of the first row and key.
template <int R, typename Values>
RUNNEL_INLINE void add_values(const SoftmaxRows& s, int row, const float* weights,
                              const Values& values, int n_keys, int d, int end) {
  constexpr int kVectors = R == 1 ? 4 : R < 4 ? 2 : 1;
  for (; d + kVectors * kTile <= end; d += kVectors * kTile)
    add_values_at<R, kVectors>(s, row, weights, values, n_keys, d);
  for (; d < end; d += kTile) add_values_at<R, 1>(s, row, weights, values, n_keys, d);
}

// What all rows make of one block.
struct BlockTask {
  const Attention& attention;
  const QueryRow* rows;
  int n_rows;
  int n_angles;           // that keys go on with
  const float** queries;  // [n_rows]
  TileView* views;        // [n_rows], of `block`
  Block block;

  // Whether one of n rows sees some of the keys [begin, end).
  RUNNEL_MEMBER bool sees(int first, int n, int begin, int end) const {
    for (int r = first; r < first + n; ++r) {
      const TileView& view = views[r];
      if (view.low < end && view.high >= begin && view.low <= view.high) return true;
    }
    return false;
  }
};

// The part of the scores that the angles of a tile make.
static void add_angles(const BlockTask& t, const StoredTile<Half>& angles, int place,
                       AttentionScratch& s) {
  for_each_row_group<kRowsTogether>(
      t.n_rows, [&](auto n, int first) __attribute__((always_inline)) {
        constexpr int kRows = n;
        const float* queries[kRows];
        for (int r = 0; r < kRows; ++r) queries[r] = t.queries[first + r] + t.attention.head_dim;
        float more[kRows * kBlockKeys];
        score_rows<kRows>(queries, t.n_angles, angles, more);
        float* scores = s.scores + first * kBlockKeys + place * kTile;
        for (int r = 0; r < kRows * kBlockKeys; r += kBlockKeys)
          store(scores + r, load(scores + r) + load(more + r));
      });
}

template <int kMost, typename Tile>
RUNNEL_INLINE void score_tile(const BlockTask& t, const Tile& tile, int place,
                              AttentionScratch& s) {
  const int at = place * kTile;
  for_each_row_group<kMost>(
      t.n_rows, [&](auto n, int r) __attribute__((always_inline)) {
        if (t.sees(r, n, at, at + kTile))
          score_rows<n>(t.queries + r, t.attention.head_dim, tile, s.scores + r * kBlockKeys + at);
      });
  if (t.n_angles == 0) return;
  const std::int64_t index = t.block.tile_of(place) % t.attention.ring.n_tiles;
  add_angles(t, angle_tile(t.attention, index), place, s);
}

// Online softmax: takes a block's scores into the rows' maxima and denominators, and leaves its
// weights in place of the scores. All maxima first, so that nothing waits for one.
static void weigh_block(const BlockTask& t, AttentionScratch& s) {
  const int first = t.block.first_place();
  const int last = t.block.last_place();
  for (int r = 0; r < t.n_rows; ++r) {
    float* scores = s.scores + r * kBlockKeys;
    Vec largest = splat(-__builtin_inff());
    for (int place = first; place <= last; ++place) {
      finish_place(t.attention, t.rows[r], t.views[r], place, scores);
      largest = max(largest, load(scores + place * kTile));
    }
    raise_maximum(s.rows, r, max_lane(largest));
    if (t.rows[r].weights != nullptr) keep_scores(t.rows[r], t.block, scores);
  }
  for (int r = 0; r < t.n_rows; ++r) {
    float* scores = s.scores + r * kBlockKeys;
    float* sums = s.rows.sums + r * kTile;
    const bool saw_nothing = s.rows.maxima[r] == -__builtin_inff();
    const Vec maximum = splat(saw_nothing ? 0 : s.rows.maxima[r]);
    Vec sum = load(sums);
    for (int place = first; place <= last; ++place) {
      const Vec weights = exp(load(scores + place * kTile) - maximum);
      sum = sum + weights;
      store(scores + place * kTile, weights);
    }
    store(sums, sum);
  }
}

// Calls f(tile, place) for each tile of a block, while later ones are fetched.
template <bool kSinks, typename F>
RUNNEL_INLINE void for_each_tile(const Attention& a, const Block& block, F f) {
  for (int place = block.first_place(); place <= block.last_place(); ++place) {
    const std::int64_t at = block.place_of<kSinks>(a, place);
    with_tile(
        visited_tile(a, at), later_tile(a, at),
        a.head_dim, [&](const auto& tile) __attribute__((always_inline)) { f(tile, place); });
  }
}

template <bool kSinks>
static void attend_directly(const BlockTask& t, AttentionScratch& s) {
  for_each_tile<kSinks>(
      t.attention, t.block, [&](const auto& tile, int place) __attribute__((always_inline)) {
        score_tile<kRowsTogether>(t, tile, place, s);
      });
  weigh_block(t, s);
  for_each_tile<kSinks>(
      t.attention, t.block, [&](const auto& tile, int place) __attribute__((always_inline)) {
        const int at = place * kTile;
        for_each_row_group<kRowsTogether>(
            t.n_rows, [&](auto n, int r) __attribute__((always_inline)) {
              if (t.sees(r, n, at, at + kTile))
                add_values<n>(s.rows, r, s.scores + r * kBlockKeys + at, tile, kTile, 0,
                              s.rows.width);
            });
      });
}

// What is the same for all formats, once.
static __attribute__((noinline)) void score_widened(const BlockTask& t, int place,
                                                    AttentionScratch& s) {
  score_tile<kWidenedRows>(t, WidenedKeys{s.keys}, place, s);
}
static __attribute__((noinline)) void add_widened(const BlockTask& t, int first, int last,
                                                  AttentionScratch& s) {
  const int key = t.block.first_place() * kTile;
  const int n_keys = (t.block.last_place() + 1) * kTile - key;
  const WidenedValues values = {s.values + key * kTile, first};
  for_each_row_group<kWidenedRows>(
      t.n_rows, [&](auto n, int r) __attribute__((always_inline)) {
        if (t.sees(r, n, 0, kBlockKeys))
          add_values<n>(s.rows, r, s.scores + r * kBlockKeys + key, values, n_keys, first, last);
      });
}

template <bool kSinks>
static void attend_to_widened(const BlockTask& t, AttentionScratch& s) {
  const Attention& a = t.attention;
  for_each_tile<kSinks>(
      a, t.block, [&](const auto& tile, int place) __attribute__((always_inline)) {
        widen_keys(tile, a.head_dim, s.keys);
        score_widened(t, place, s);
      });
  weigh_block(t, s);
  for (int first = 0; first < s.rows.width; first += kValueDims) {
    const int last = first + kValueDims < s.rows.width ? first + kValueDims : s.rows.width;
    for_each_tile<kSinks>(
        a, t.block, [&](const auto& tile, int place) __attribute__((always_inline)) {
          widen_values(tile, first, last, s.values + place * kTile * kTile);
        });
    add_widened(t, first, last, s);
  }
}

template <bool kSinks>
static void visit_blocks_in_floats(const Attention& a, const QueryRow* rows, int n_rows,
                                   AttentionScratch& s) {
  const float* queries[kMaxQueryRows];
  TileView views[kMaxQueryRows];
  for (int r = 0; r < n_rows; ++r) queries[r] = kSinks ? rows[r].sink_query : rows[r].query;
  for_each_block<kSinks>(a, [&](const Block& block) {
    const BlockTask task = {.attention = a,
                            .rows = rows,
                            .n_rows = n_rows,
                            .n_angles = kSinks ? 0 : a.n_angles,
                            .queries = queries,
                            .views = views,
                            .block = block};
    for (int r = 0; r < n_rows; ++r) views[r] = view_of_block<kSinks>(a, rows[r], block);
    if (!task.sees(0, n_rows, 0, kBlockKeys)) return;
    n_rows <= kDirectRows ? attend_directly<kSinks>(task, s) : attend_to_widened<kSinks>(task, s);
  });
}

static void attend_in_floats(const Attention& a, const QueryRow* rows, int n_rows,
                             std::byte* scratch) {
  AttentionScratch s = carve(scratch, a.head_dim);
  for (int r = 0; r < n_rows; ++r) begin_row(rows[r], r, a.n_weights(), s.rows);
  visit_blocks_in_floats<true>(a, rows, n_rows, s);
  visit_blocks_in_floats<false>(a, rows, n_rows, s);
  for (int r = 0; r < n_rows; ++r) finish_row(rows[r], r, a.n_weights(), a.head_dim, s.rows);
}
