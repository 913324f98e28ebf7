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

static std::size_t attention_scratch_bytes(int head_dim) {
  const std::size_t width = static_cast<std::size_t>((head_dim + kTile - 1) / kTile * kTile);
  return sizeof(float) * (width * kTile * 2 + kMaxQueryRows * width + 2 * kMaxQueryRows * kTile);
}

template <typename Load16, typename Element>
RUNNEL_INLINE void widen_tile(const Element* keys, const Element* values, int head_dim,
                              const AttentionScratch& s, Load16 load16) {
  for (int d = 0; d < head_dim; ++d) store(s.keys + d * kTile, load16(keys + d * kTile));
  for (int slot = 0; slot < kTile; ++slot) {
    const Element* value = values + slot * head_dim;
    float* out = s.values + slot * s.width;
    int d = 0;
    for (; d + kTile <= head_dim; d += kTile) store(out + d, load16(value + d));
    if (d == head_dim) continue;
    Element rest[kTile] = {};
    for (int i = d; i < head_dim; ++i) rest[i - d] = value[i];
    store(out + d, load16(rest));
  }
}

RUNNEL_INLINE void dequantize_tile_q8(const KvArea& area, std::int64_t tile, int head_dim,
                                      const AttentionScratch& s) {
  const int n_blocks = (head_dim + 31) / 32;
  const auto* keys = reinterpret_cast<const std::int8_t*>(area.keys) + tile * head_dim * kTile;
  const auto* values = reinterpret_cast<const std::int8_t*>(area.values) + tile * kTile * head_dim;
  const std::uint16_t* key_scales = area.key_scales + tile * n_blocks * kTile;
  const std::uint16_t* value_scales = area.value_scales + tile * kTile * n_blocks;
  widen_tile(keys, values, head_dim, s, [](const std::int8_t* p) { return load_int16x8(p); });
  for (int d = 0; d < head_dim; ++d) {
    store(s.keys + d * kTile, load(s.keys + d * kTile) * load_half16(key_scales + d / 32 * kTile));
  }
  for (int slot = 0; slot < kTile; ++slot) {
    for (int d = 0; d < s.width; d += kTile) {
      float* v = s.values + slot * s.width + d;
      store(v, load(v) * splat(half_value(value_scales[slot * n_blocks + d / 32])));
    }
  }
}

// The tile's keys and values as floats.
static void widen_tile(KvFormat format, const KvArea& area, std::int64_t tile, int head_dim,
                       const AttentionScratch& s) {
  const std::int64_t at = tile * kTile * head_dim;
  const auto as = [&]<typename T>(T*) {
    return [&, at](auto load16) {
      widen_tile(reinterpret_cast<const T*>(area.keys) + at,
                 reinterpret_cast<const T*>(area.values) + at, head_dim, s, load16);
    };
  };
  switch (format) {
    case KvFormat::kF32:
      return as(static_cast<float*>(nullptr))([](const float* p) { return load(p); });
    case KvFormat::kF16:
      return as(static_cast<std::uint16_t*>(nullptr))(
          [](const std::uint16_t* p) { return load_half16(p); });
    case KvFormat::kBF16:
      return as(static_cast<std::uint16_t*>(nullptr))(
          [](const std::uint16_t* p) { return load_bfloat16(p); });
    case KvFormat::kQ8_0:
      return dequantize_tile_q8(area, tile, head_dim, s);
  }
}

// Dot products of R queries with the 16 keys of a tile; even and odd dimensions in two chains.
template <int R>
RUNNEL_INLINE void score_rows(const float* const* queries, int head_dim, const float* keys,
                              float* scores) {
  Vec even[R];
  Vec odd[R];
  for (int r = 0; r < R; ++r) even[r] = odd[r] = splat(0);
  for (int d = 0; d + 1 < head_dim; d += 2) {
    const Vec key0 = load(keys + d * kTile);
    const Vec key1 = load(keys + (d + 1) * kTile);
    for (int r = 0; r < R; ++r) {
      even[r] = multiply_add(splat(queries[r][d]), key0, even[r]);
      odd[r] = multiply_add(splat(queries[r][d + 1]), key1, odd[r]);
    }
  }
  if (head_dim % 2 != 0) {
    const Vec key = load(keys + (head_dim - 1) * kTile);
    for (int r = 0; r < R; ++r)
      even[r] = multiply_add(splat(queries[r][head_dim - 1]), key, even[r]);
  }
  for (int r = 0; r < R; ++r) store(scores + r * kTile, even[r] + odd[r]);
}

// The lanes [low, high] of a tile that a row sees, and its distance to lane 0.
struct TileView {
  int low;
  int high;
  float distance;
};

RUNNEL_INLINE TileView view_of(std::int64_t low, std::int64_t high, std::int64_t distance) {
  return {static_cast<int>(low < 0       ? 0
                           : low > kTile ? kTile
                                         : low),
          static_cast<int>(high < -1       ? -1
                           : high >= kTile ? kTile - 1
                                           : high),
          static_cast<float>(distance)};
}
RUNNEL_INLINE TileView view_of_sinks(const Attention& a, const QueryRow& row, std::int64_t tile) {
  const std::int64_t base = tile * kTile;
  const std::int64_t newest = row.position < a.n_sinks - 1 ? row.position : a.n_sinks - 1;
  return view_of(row.cache_position - a.sink_reach - base, newest - base,
                 row.cache_position - base);
}
RUNNEL_INLINE TileView view_of_ring(const Attention& a, const QueryRow& row, std::int64_t tile) {
  const std::int64_t base = tile * kTile;
  const std::int64_t oldest = row.position - a.window > a.first ? row.position - a.window : a.first;
  return view_of(oldest - base, row.position - base, row.position - base);
}

RUNNEL_INLINE Vec lane_numbers() {
  static constexpr float kNumbers[kTile] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(kNumbers);
}

// Raw dot products to scores: scale, cap, bias, and -inf where the row does not see.
RUNNEL_INLINE Vec finish_scores(const Attention& a, const QueryRow& row, const TileView& view,
                                Vec dots) {
  Vec scores = dots * splat(a.scale);
  if (a.softcap > 0) scores = splat(a.softcap) * tanh(scores / splat(a.softcap));
  const Vec lanes = lane_numbers();
  if (row.bias_slope != 0) scores = scores - splat(row.bias_slope) * (splat(view.distance) - lanes);
  const float low = static_cast<float>(view.low);
  const float high = static_cast<float>(view.high);
  RUNNEL_EACH_PART {
    const native_int seen = (lanes.part[i] >= native{} + low) & (lanes.part[i] <= native{} + high);
    scores.part[i] = seen ? scores.part[i] : native{} - __builtin_inff();
  }
  return scores;
}

// Online softmax: takes a tile's scores into a row's maximum and denominator, shrinks its output
// where the maximum grew, and leaves the tile's weights in place of the scores.
RUNNEL_INLINE void weigh_tile(const AttentionScratch& s, float& maximum, int row, Vec scores) {
  float* sum = s.sums + row * kTile;
  float* out = s.out + row * s.width;
  const float tile_maximum = max_lane(scores);
  if (tile_maximum > maximum) {
    const Vec shrink = exp(splat(maximum - tile_maximum));
    maximum = tile_maximum;
    store(sum, load(sum) * shrink);
    for (int d = 0; d < s.width; d += kTile) store(out + d, load(out + d) * shrink);
  }
  const Vec weights = exp(scores - splat(maximum));
  store(sum, load(sum) + weights);
  store(s.scores + row * kTile, weights);
}

// Adds a tile's values to R rows' outputs, key after key.
template <int R>
RUNNEL_INLINE void add_values(const AttentionScratch& s, int row) {
  const float* weights = s.scores + row * kTile;
  for (int d = 0; d < s.width; d += kTile) {
    float* out = s.out + row * s.width + d;
    Vec acc[R];
    for (int r = 0; r < R; ++r) acc[r] = load(out + r * s.width);
    for (int slot = 0; slot < kTile; ++slot) {
      const Vec value = load(s.values + slot * s.width + d);
      for (int r = 0; r < R; ++r)
        acc[r] = multiply_add(splat(weights[r * kTile + slot]), value, acc[r]);
    }
    for (int r = 0; r < R; ++r) store(out + r * s.width, acc[r]);
  }
}

template <bool kSinks>
static void visit_tile(const Attention& a, std::int64_t tile, const QueryRow* rows, int n_rows,
                       AttentionScratch& s, std::int64_t weights_at) {
  const float* queries[kMaxQueryRows];
  TileView views[kMaxQueryRows];
  bool any_seen = false;
  for (int r = 0; r < n_rows; ++r) {
    queries[r] = kSinks ? rows[r].sink_query : rows[r].query;
    views[r] = kSinks ? view_of_sinks(a, rows[r], tile) : view_of_ring(a, rows[r], tile);
    any_seen |= views[r].low <= views[r].high;
  }
  if (!any_seen) return;
  const KvArea& area = kSinks ? a.sinks : a.ring;
  widen_tile(a.format, area, kSinks ? tile : tile % area.n_tiles, a.head_dim, s);
  int r = 0;
  for (; r + 8 <= n_rows; r += 8)
    score_rows<8>(queries + r, a.head_dim, s.keys, s.scores + r * kTile);
  for (; r + 4 <= n_rows; r += 4)
    score_rows<4>(queries + r, a.head_dim, s.keys, s.scores + r * kTile);
  for (; r < n_rows; ++r) score_rows<1>(queries + r, a.head_dim, s.keys, s.scores + r * kTile);
  for (r = 0; r < n_rows; ++r) {
    if (views[r].low > views[r].high) {
      store(s.scores + r * kTile, splat(0));
      continue;
    }
    const Vec scores = finish_scores(a, rows[r], views[r], load(s.scores + r * kTile));
    if (rows[r].weights != nullptr) store(rows[r].weights + weights_at, scores);
    weigh_tile(s, s.maxima[r], r, scores);
  }
  r = 0;
  for (; r + 8 <= n_rows; r += 8) add_values<8>(s, r);
  for (; r + 4 <= n_rows; r += 4) add_values<4>(s, r);
  for (; r < n_rows; ++r) add_values<1>(s, r);
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
  const Vec inverse = splat(1.0f / sum_lanes(load(s.sums + r * kTile)));
  float* out = s.out + r * s.width;
  for (int d = 0; d < s.width; d += kTile) store(out + d, load(out + d) * inverse);
  for (int d = 0; d < head_dim; ++d) row.out[d] = out[d];
  for (std::int64_t i = 0; row.weights != nullptr && i < n_weights; i += kTile) {
    store(row.weights + i, exp(load(row.weights + i) - splat(s.maxima[r])) * inverse);
  }
}

static void attend(const Attention& a, const QueryRow* rows, int n_rows, std::byte* scratch) {
  AttentionScratch s = carve(scratch, a.head_dim);
  const std::int64_t n_sink_tiles = (a.n_sinks + kTile - 1) / kTile;
  const std::int64_t n_weights = (n_sink_tiles + a.newest_tile - a.oldest_tile + 1) * kTile;
  for (int r = 0; r < n_rows; ++r) begin_row(rows[r], r, n_weights, s);
  for (std::int64_t tile = 0; tile < n_sink_tiles; ++tile) {
    visit_tile<true>(a, tile, rows, n_rows, s, tile * kTile);
  }
  for (std::int64_t tile = a.oldest_tile; tile <= a.newest_tile; ++tile) {
    visit_tile<false>(a, tile, rows, n_rows, s, (n_sink_tiles + tile - a.oldest_tile) * kTile);
  }
  for (int r = 0; r < n_rows; ++r) finish_row(rows[r], r, n_weights, a.head_dim, s);
}
