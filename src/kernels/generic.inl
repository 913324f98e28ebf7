// The float kernels, written once over a vector of 16 floats. Each instruction set's file defines
// the machine's own vector and its half-precision loads, includes this file inside an unnamed
// namespace, and exports a table.
//
// Wanted from the including file:
//   native, native_int      GCC vectors of kLanes floats / int32
//   load_half(p), load_bfloat(p), load_int8(p)     kLanes elements to floats
//   kRowBlock, kTokenBlock  register tile of the matrix product

constexpr int kParts = kTile / kLanes;

struct Vec {
  native part[kParts];
};

#define RUNNEL_EACH_PART _Pragma("GCC unroll 4") for (int i = 0; i < kParts; ++i)
#define RUNNEL_INLINE static inline __attribute__((always_inline))

RUNNEL_INLINE Vec splat(float x) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = native{} + x;
  return v;
}
RUNNEL_INLINE Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
RUNNEL_INLINE void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof(v)); }
RUNNEL_INLINE Vec load_some(const float* p, int n) {  // the first n lanes; the others are 0
  float lanes[kTile] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
RUNNEL_INLINE void store_some(float* p, Vec v, int n) {
  float lanes[kTile];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
RUNNEL_INLINE Vec load_half16(const std::uint16_t* p) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = load_half(p + i * kLanes);
  return v;
}
RUNNEL_INLINE Vec load_bfloat16(const std::uint16_t* p) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = load_bfloat(p + i * kLanes);
  return v;
}
RUNNEL_INLINE Vec load_int16x8(const std::int8_t* p) {
  Vec v;
  RUNNEL_EACH_PART v.part[i] = load_int8(p + i * kLanes);
  return v;
}

RUNNEL_INLINE Vec operator+(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] + b.part[i];
  return a;
}
RUNNEL_INLINE Vec operator-(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] - b.part[i];
  return a;
}
RUNNEL_INLINE Vec operator*(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] * b.part[i];
  return a;
}
RUNNEL_INLINE Vec operator/(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] / b.part[i];
  return a;
}
// a * b + c; fused wherever the machine can (these files are compiled with -ffp-contract=fast).
RUNNEL_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
  RUNNEL_EACH_PART c.part[i] = a.part[i] * b.part[i] + c.part[i];
  return c;
}
RUNNEL_INLINE Vec max(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return a;
}
RUNNEL_INLINE Vec min(Vec a, Vec b) {
  RUNNEL_EACH_PART a.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return a;
}

// Lanes i and i + kHalf change places.
template <int kHalf, typename V>
RUNNEL_INLINE V swap_halves(V v) {
  if constexpr (kHalf == 8) {
    return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  } else if constexpr (sizeof(V) == 64) {
    if constexpr (kHalf == 4)
      return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
    if constexpr (kHalf == 2)
      return __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
    if constexpr (kHalf == 1)
      return __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
  } else if constexpr (sizeof(V) == 32) {
    if constexpr (kHalf == 4) return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    if constexpr (kHalf == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1);
    if constexpr (kHalf == 1) return __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0);
  } else {
    if constexpr (kHalf == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1);
    if constexpr (kHalf == 1) return __builtin_shufflevector(v, v, 1, 0, 3, 2);
  }
}

// All lanes to one number, always by halves: lane 0 with 8, 1 with 9, ..., then 0 with 4, ...
template <typename Combine>
RUNNEL_INLINE float reduce(Vec v, Combine combine) {
  for (int half = kParts / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) v.part[i] = combine(v.part[i], v.part[i + half]);
  }
  native lanes = v.part[0];
  if constexpr (kLanes > 8) lanes = combine(lanes, swap_halves<8>(lanes));
  if constexpr (kLanes > 4) lanes = combine(lanes, swap_halves<4>(lanes));
  lanes = combine(lanes, swap_halves<2>(lanes));
  lanes = combine(lanes, swap_halves<1>(lanes));
  return lanes[0];
}
RUNNEL_INLINE float sum_lanes(Vec v) {
  return reduce(v, [](native a, native b) { return a + b; });
}
RUNNEL_INLINE float max_lane(Vec v) {
  return reduce(v, [](native a, native b) { return a > b ? a : b; });
}

// e^x, relative error below 2e-7; exactly 0 below -87.3, where the result would not be a normal
// number. Reduction to [-ln2/2, ln2/2] and a polynomial (Cephes expf).
RUNNEL_INLINE native exp_native(native x) {
  const native_int underflow = x < native{} - 87.3f;
  x = underflow ? native{} - 87.3f : x;
  x = x > native{} + 88.3f ? native{} + 88.3f : x;
  const native magic = native{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const native n = (x * 1.44269504088896341f + magic) - magic;
  native r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  native p = native{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const native_int exponent = __builtin_convertvector(n, native_int) << 23;
  const native result = (native)((native_int)p + exponent);
  return underflow ? native{} : result;
}
RUNNEL_INLINE Vec exp(Vec x) {
  RUNNEL_EACH_PART x.part[i] = exp_native(x.part[i]);
  return x;
}
RUNNEL_INLINE Vec sigmoid(Vec x) { return splat(1) / (splat(1) + exp(splat(0) - x)); }
RUNNEL_INLINE Vec tanh(Vec x) { return splat(1) - splat(2) / (exp(x + x) + splat(1)); }

// ---- weights
// -----------------------------------------------------------------------------------------------------

RUNNEL_INLINE float half_to_float(const std::byte* p) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, p, 2);
  return static_cast<float>(half_value(bits));
}

static void dequantize_q8_0(const std::byte* data, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / 32; ++b, data += 34, out += 32) {
    const Vec scale = splat(half_to_float(data));
    const auto* q = reinterpret_cast<const std::int8_t*>(data + 2);
    store(out, load_int16x8(q) * scale);
    store(out + 16, load_int16x8(q + 16) * scale);
  }
}

static void dequantize_q4_0(const std::byte* data, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / 32; ++b, data += 18, out += 32) {
    const Vec scale = splat(half_to_float(data));
    std::int8_t q[32];
    for (int i = 0; i < 16; ++i) {
      const int two = static_cast<int>(data[2 + i]);
      q[i] = static_cast<std::int8_t>((two & 15) - 8);
      q[i + 16] = static_cast<std::int8_t>((two >> 4) - 8);
    }
    store(out, load_int16x8(q) * scale);
    store(out + 16, load_int16x8(q + 16) * scale);
  }
}

template <typename Load>
RUNNEL_INLINE void widen(const std::byte* data, float* out, std::int64_t n, Load load16) {
  const auto* p = reinterpret_cast<const std::uint16_t*>(data);
  std::int64_t i = 0;
  for (; i + kTile <= n; i += kTile) store(out + i, load16(p + i));
  if (i == n) return;
  std::uint16_t rest[kTile] = {};
  for (std::int64_t j = i; j < n; ++j) rest[j - i] = p[j];
  store_some(out + i, load16(rest), static_cast<int>(n - i));
}

static void dequantize(TensorType type, const std::byte* data, float* out, std::int64_t n) {
  switch (type) {
    case TensorType::kF16:
      return widen(data, out, n, [](const std::uint16_t* p) { return load_half16(p); });
    case TensorType::kBF16:
      return widen(data, out, n, [](const std::uint16_t* p) { return load_bfloat16(p); });
    case TensorType::kQ8_0:
      return dequantize_q8_0(data, out, n);
    case TensorType::kQ4_0:
      return dequantize_q4_0(data, out, n);
    default:
      return dequantize_row(type, data, out, n);
  }
}

// ---- matrix product
// ----------------------------------------------------------------------------------------------

// R rows of weights times T tokens. Lane k mod 16 of each accumulator takes the products of k in
// rising order, so the result does not depend on R or T.
template <int R, int T>
static void dot_block(const float* w, std::int64_t w_stride, const Matmul& m, std::int64_t row,
                      int token) {
  Vec acc[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) acc[r][t] = splat(0);
  }
  const std::int64_t cols = m.w.cols;
  const float* x = m.x + token * m.x_stride;
  const auto accumulate = [&](auto load16, std::int64_t k) __attribute__((always_inline)) {
    Vec xs[T];
    for (int t = 0; t < T; ++t) xs[t] = load16(x + t * m.x_stride + k);
    for (int r = 0; r < R; ++r) {
      const Vec weight = load16(w + r * w_stride + k);
      for (int t = 0; t < T; ++t) acc[r][t] = multiply_add(weight, xs[t], acc[r][t]);
    }
  };
  std::int64_t k = 0;
  for (; k + kTile <= cols; k += kTile) {
    accumulate(
        [](const float* p) __attribute__((always_inline)) { return load(p); }, k);
  }
  if (k < cols) {
    const int rest = static_cast<int>(cols - k);
    accumulate(
        [rest](const float* p) __attribute__((always_inline)) { return load_some(p, rest); }, k);
  }
  for (int r = 0; r < R; ++r) {
    const float bias = m.bias != nullptr ? m.bias[row + r] : 0.0f;
    for (int t = 0; t < T; ++t)
      m.y[(token + t) * m.y_stride + row + r] = sum_lanes(acc[r][t]) + bias;
  }
}

template <int R, int T>
static void dot_rows(const float* w, std::int64_t w_stride, const Matmul& m, std::int64_t row,
                     int n_rows, int token) {
  int r = 0;
  for (; r + R <= n_rows; r += R) dot_block<R, T>(w + r * w_stride, w_stride, m, row + r, token);
  for (; r < n_rows; ++r) dot_block<1, T>(w + r * w_stride, w_stride, m, row + r, token);
}

static void matmul_packed(const Matmul& m, std::int64_t first_row, std::int64_t last_row);

static void matmul(const Matmul& m, std::int64_t first_row, std::int64_t last_row, float* scratch) {
  if (m.w.packed != nullptr) return matmul_packed(m, first_row, last_row);
  const std::int64_t cols = m.w.cols;
  const std::size_t row_bytes = m.w.row_bytes();
  for (std::int64_t row = first_row; row < last_row; row += kPanelRows) {
    const int n_rows = static_cast<int>(last_row - row < kPanelRows ? last_row - row : kPanelRows);
    const std::byte* stored = m.w.data + static_cast<std::size_t>(row) * row_bytes;
    const float* panel = reinterpret_cast<const float*>(stored);
    if (m.w.type != TensorType::kF32) {
      for (int r = 0; r < n_rows; ++r) {
        dequantize(m.w.type, stored + static_cast<std::size_t>(r) * row_bytes, scratch + r * cols,
                   cols);
      }
      panel = scratch;
    }
    int token = 0;
    for (; token + kTokenBlock <= m.n_tokens; token += kTokenBlock) {
      dot_rows<kRowBlock, kTokenBlock>(panel, cols, m, row, n_rows, token);
    }
    for (; token < m.n_tokens; ++token) dot_rows<8, 1>(panel, cols, m, row, n_rows, token);
  }
}

// ---- attention
// ---------------------------------------------------------------------------------------------------

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

// ---- small vectors
// -----------------------------------------------------------------------------------------------

// Calls f(load) -> Vec for each 16 elements; the last ones alone.
template <typename F>
RUNNEL_INLINE void map(float* out, int n, F f) {
  int i = 0;
  for (; i + kTile <= n; i += kTile) store(out + i, f([i](const float* p) { return load(p + i); }));
  if (i < n) {
    const int rest = n - i;
    store_some(out + i, f([i, rest](const float* p) { return load_some(p + i, rest); }), rest);
  }
}
template <typename F>
RUNNEL_INLINE float sum(int n, F f) {
  Vec total = splat(0);
  int i = 0;
  for (; i + kTile <= n; i += kTile) total = total + f([i](const float* p) { return load(p + i); });
  if (i < n) {
    const int rest = n - i;
    total = total + f([i, rest](const float* p) { return load_some(p + i, rest); });
  }
  return sum_lanes(total);
}

static void rms_norm(const float* x, const float* weight, float epsilon, float* out, int n) {
  const float square_sum = sum(n, [x](auto at) { return at(x) * at(x); });
  const Vec scale = splat(1.0f / __builtin_sqrtf(square_sum / static_cast<float>(n) + epsilon));
  if (weight == nullptr) return map(out, n, [=](auto at) { return at(x) * scale; });
  map(out, n, [=](auto at) { return at(x) * scale * at(weight); });
}

static void layer_norm(const float* x, const float* weight, const float* bias, float epsilon,
                       float* out, int n) {
  const float mean = sum(n, [x](auto at) { return at(x); }) / static_cast<float>(n);
  float squares = 0;  // by hand: the padding of the last vector must not count
  {
    Vec total = splat(0);
    int i = 0;
    for (; i + kTile <= n; i += kTile) {
      const Vec centered = load(x + i) - splat(mean);
      total = multiply_add(centered, centered, total);
    }
    squares = sum_lanes(total);
    for (; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  }
  const Vec scale = splat(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + epsilon));
  map(out, n, [=](auto at) {
    Vec y = (at(x) - splat(mean)) * scale;
    if (weight != nullptr) y = y * at(weight);
    return bias != nullptr ? y + at(bias) : y;
  });
}

static void add(const float* x, float* y, int n) {
  map(y, n, [=](auto at) { return at(x) + at(y); });
}

static void silu(const float* gate, const float* up, float* out, int n) {
  if (up == nullptr) return map(out, n, [=](auto at) { return at(gate) * sigmoid(at(gate)); });
  map(out, n, [=](auto at) { return at(gate) * sigmoid(at(gate)) * at(up); });
}

RUNNEL_INLINE Vec gelu_of(Vec x) {
  const Vec inner = splat(0.79788456080286535588f) * x * (splat(1) + splat(0.044715f) * x * x);
  return splat(0.5f) * x * (splat(1) + tanh(inner));
}
static void gelu(const float* gate, const float* up, float* out, int n) {
  if (up == nullptr) return map(out, n, [=](auto at) { return gelu_of(at(gate)); });
  map(out, n, [=](auto at) { return gelu_of(at(gate)) * at(up); });
}

static void swiglu_oai(const float* gate, const float* up, float* out, int n) {
  map(out, n, [=](auto at) {
    const Vec g = min(at(gate), splat(7));
    const Vec u = max(min(at(up), splat(7)), splat(-7));
    return g * sigmoid(splat(1.702f) * g) * (u + splat(1));
  });
}

static void softcap(float* x, float cap, int n) {
  map(x, n, [=](auto at) { return splat(cap) * tanh(at(x) / splat(cap)); });
}

static float log_sum_exp(const float* x, int n) {
  float maximum = x[0];
  for (int i = 1; i < n; ++i) maximum = x[i] > maximum ? x[i] : maximum;
  Vec total = splat(0);
  int i = 0;
  for (; i + kTile <= n; i += kTile) total = total + exp(load(x + i) - splat(maximum));
  float lanes[kTile];
  for (int j = 0; j < kTile; ++j) lanes[j] = i + j < n ? x[i + j] - maximum : -__builtin_inff();
  return maximum + __builtin_logf(sum_lanes(total + exp(load(lanes))));
}

#undef RUNNEL_EACH_PART
#undef RUNNEL_INLINE
