// Softmax with a running maximum and denominator, over blocks of 64 keys: what a row sees of a
// block and its scores there, and what a row has summed so far.
//
// Blocks begin at multiples of 64 positions whatever the chunk, and what a row does not see has
// weight 0: its sums depend on its own keys alone.

constexpr int kBlockTiles = 4;  // of kTile keys
constexpr int kBlockKeys = kBlockTiles * kTile;

// What rows have summed, in the caller's bytes. Rows are padded to whole vectors.
struct SoftmaxRows {
  int width;    // head_dim rounded up to kTile
  float* out;   // [kMaxQueryRows, width]
  float* sums;  // [kMaxQueryRows, kTile]: the denominator, by lane
  float maxima[kMaxQueryRows];
};

constexpr int padded_width(int head_dim) { return (head_dim + kTile - 1) / kTile * kTile; }

constexpr std::size_t softmax_bytes(int head_dim) {
  return sizeof(float) * kMaxQueryRows * static_cast<std::size_t>(padded_width(head_dim) + kTile);
}

static SoftmaxRows carve_rows(std::byte* bytes, int head_dim) {
  SoftmaxRows s;
  s.width = padded_width(head_dim);
  s.out = reinterpret_cast<float*>(bytes);
  s.sums = s.out + kMaxQueryRows * s.width;
  return s;
}

// The part of a block that is visited.
struct Block {
  std::int64_t first;  // tiles
  std::int64_t last;
  std::int64_t weights_at;  // place of `first` in QueryRow::weights

  std::int64_t tile_of(int place) const { return first / kBlockTiles * kBlockTiles + place; }
  int first_place() const { return static_cast<int>(first % kBlockTiles); }
  int last_place() const { return static_cast<int>(last % kBlockTiles); }
  bool visits(int place) const { return place >= first_place() && place <= last_place(); }
  // Among all tiles that are visited.
  template <bool kSinks>
  std::int64_t place_of(const Attention& a, int place) const {
    return kSinks ? tile_of(place) : a.n_sink_tiles() + tile_of(place) - a.oldest_tile;
  }
};

// Calls f(block) for the tiles [first, last] of the sinks or of the ring.
template <bool kSinks, typename F>
RUNNEL_INLINE void for_each_block(const Attention& a, F f) {
  const std::int64_t oldest = kSinks ? 0 : a.oldest_tile;
  const std::int64_t newest = kSinks ? a.n_sink_tiles() - 1 : a.newest_tile;
  std::int64_t weights_at = kSinks ? 0 : a.n_sink_tiles() * kTile;
  for (Block block = {oldest, 0, weights_at}; block.first <= newest; block.first = block.last + 1) {
    block.last = block.tile_of(kBlockTiles - 1);
    if (block.last > newest) block.last = newest;
    f(block);
    block.weights_at += (block.last - block.first + 1) * kTile;
  }
}

// The keys [low, high] of a block, or of a tile of it, that a row sees, and its distance to the
// first.
struct TileView {
  int low;
  int high;
  float distance;
};

RUNNEL_INLINE TileView view_of(std::int64_t low, std::int64_t high, std::int64_t distance) {
  return {static_cast<int>(low < 0            ? 0
                           : low > kBlockKeys ? kBlockKeys
                                              : low),
          static_cast<int>(high < -1            ? -1
                           : high >= kBlockKeys ? kBlockKeys - 1
                                                : high),
          static_cast<float>(distance)};
}
// Of the sinks, or positions of the ring, of a block.
template <bool kSinks>
RUNNEL_INLINE TileView view_of_block(const Attention& a, const QueryRow& row, const Block& block) {
  const std::int64_t base = block.tile_of(0) * kTile;
  if constexpr (kSinks) {
    const std::int64_t newest = row.position < a.n_sinks - 1 ? row.position : a.n_sinks - 1;
    return view_of(row.cache_position - a.sink_reach - base, newest - base,
                   row.cache_position - base);
  }
  const std::int64_t oldest = row.position - a.window > a.first ? row.position - a.window : a.first;
  return view_of(oldest - base, row.position - base, row.position - base);
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

// Those of one place of a block, of which the row sees `seen`.
RUNNEL_INLINE void finish_place(const Attention& a, const QueryRow& row, const TileView& seen,
                                int place, float* scores) {
  const int at = place * kTile;
  finish_scores(a, row, {seen.low - at, seen.high - at, seen.distance - static_cast<float>(at)},
                scores + at);
}

// For QueryRow::weights: of what a block visits.
RUNNEL_SELDOM void keep_scores(const QueryRow& row, const Block& block, const float* scores) {
  float* out = row.weights + block.weights_at;
  for (int place = block.first_place(); place <= block.last_place(); ++place, out += kTile)
    store(out, load(scores + place * kTile));
}

// A row's maximum becomes `largest`, and what it has summed shrinks with it.
RUNNEL_SELDOM void shrink_row(SoftmaxRows& s, int row, float largest) {
  const Vec shrink = exp(splat(s.maxima[row] - largest));
  s.maxima[row] = largest;
  float* sum = s.sums + row * kTile;
  store(sum, load(sum) * shrink);
  float* out = s.out + row * s.width;
  for (int d = 0; d < s.width; d += kTile) store(out + d, load(out + d) * shrink);
}
RUNNEL_INLINE void raise_maximum(SoftmaxRows& s, int row, float largest) {
  if (largest > s.maxima[row]) shrink_row(s, row, largest);
}

RUNNEL_INLINE void begin_row(const QueryRow& row, int r, std::int64_t n_weights, SoftmaxRows& s) {
  for (int d = 0; d < s.width; ++d) s.out[r * s.width + d] = 0;
  for (int i = 0; i < kTile; ++i) s.sums[r * kTile + i] = 0;
  s.maxima[r] = row.sink_logit;
  if (row.sink_logit > -__builtin_inff()) s.sums[r * kTile] = 1;  // exp(sink_logit - maximum)
  for (std::int64_t i = 0; row.weights != nullptr && i < n_weights; ++i)
    row.weights[i] = -__builtin_inff();
}

RUNNEL_INLINE void finish_row(const QueryRow& row, int r, std::int64_t n_weights, int head_dim,
                              SoftmaxRows& s) {
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
