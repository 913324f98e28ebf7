// Weights to floats, and the float matrix product.

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

struct Half {
  std::uint16_t bits;
};
struct Bfloat {
  std::uint16_t bits;
};
RUNNEL_INLINE Vec widen16(const std::int8_t* p) { return load_int16x8(p); }
RUNNEL_INLINE Vec widen16(const float* p) { return load(p); }
RUNNEL_INLINE Vec widen16(const Half* p) { return load_half16(&p->bits); }
RUNNEL_INLINE Vec widen16(const Bfloat* p) { return load_bfloat16(&p->bits); }
template <typename W>
RUNNEL_INLINE Vec widen_some(const W* p, int n) {  // the first n; the other lanes are 0
  W some[kTile] = {};
  for (int i = 0; i < n; ++i) some[i] = p[i];
  return widen16(some);
}

// R rows of weights times T tokens. Lane k mod 16 of each accumulator takes the products of k in
// rising order, so the result does not depend on R or T.
// W is the type of a stored weight: a few tokens read half-precision weights as they are, many
// through a float panel.
template <int R, int T, typename W>
static void dot_block(const W* w, const Matmul& m, std::int64_t row, int token) {
  Vec acc[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) acc[r][t] = splat(0);
  }
  const std::int64_t cols = m.w.cols;
  const float* x = m.x + token * m.x_stride;
  // Rows side by side are as many streams, which memory gives slowly: where each weight is used
  // once, the next rows are fetched meanwhile, from end to end.
  const auto* next = reinterpret_cast<const char*>(w + R * cols);
  const auto accumulate = [&](std::int64_t k, auto load16) __attribute__((always_inline)) {
    if constexpr (T == 1) {
      constexpr std::int64_t kBytes = R * kTile * static_cast<std::int64_t>(sizeof(W));
      for (std::int64_t i = 0; i < kBytes; i += 64) fetch(next + k / kTile * kBytes + i);
    }
    Vec xs[T];
    for (int t = 0; t < T; ++t) xs[t] = load16(x + t * m.x_stride + k);
    for (int r = 0; r < R; ++r) {
      const Vec weight = load16(w + r * cols + k);
      for (int t = 0; t < T; ++t) acc[r][t] = multiply_add(weight, xs[t], acc[r][t]);
    }
  };
  std::int64_t k = 0;
  for (; k + kTile <= cols; k += kTile) {
    accumulate(
        k, [](const auto* p) __attribute__((always_inline)) { return widen16(p); });
  }
  if (k < cols) {
    const int rest = static_cast<int>(cols - k);
    accumulate(
        k, [rest](const auto* p) __attribute__((always_inline)) { return widen_some(p, rest); });
  }
  for (int r = 0; r < R; ++r) {
    const float bias = m.bias != nullptr ? m.bias[row + r] : 0.0f;
    for (int t = 0; t < T; ++t)
      m.y[(token + t) * m.y_stride + row + r] = sum_lanes(acc[r][t]) + bias;
  }
}

template <int R, int T, typename W>
static void dot_rows(const W* w, const Matmul& m, std::int64_t row, int n_rows, int token) {
  int r = 0;
  for (; r + R <= n_rows; r += R) dot_block<R, T>(w + r * m.w.cols, m, row + r, token);
  for (; r < n_rows; ++r) dot_block<1, T>(w + r * m.w.cols, m, row + r, token);
}

template <typename W>
static void dot_tokens(const W* w, const Matmul& m, std::int64_t row, int n_rows) {
  int token = 0;
  for (; token + kTokenBlock <= m.n_tokens; token += kTokenBlock) {
    dot_rows<kRowBlock, kTokenBlock>(w, m, row, n_rows, token);
  }
  for (; token < m.n_tokens; ++token) dot_rows<8, 1>(w, m, row, n_rows, token);
}

static bool wants_inputs(const Matrix& w);
static void multiply_inputs(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                            std::byte* scratch);

static void matmul(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                   std::byte* scratch) {
  if (wants_inputs(m.w)) return multiply_inputs(m, first_row, last_row, scratch);
  const std::size_t row_bytes = m.w.row_bytes();
  auto* panel = reinterpret_cast<float*>(scratch);
  const bool is_direct = m.n_tokens <= 2 * kTokenBlock;
  for (std::int64_t row = first_row; row < last_row; row += kGroupRows) {
    const int n_rows = static_cast<int>(last_row - row < kGroupRows ? last_row - row : kGroupRows);
    const std::byte* stored = m.w.data + static_cast<std::size_t>(row) * row_bytes;
    if (m.w.type == TensorType::kF32) {
      dot_tokens(reinterpret_cast<const float*>(stored), m, row, n_rows);
    } else if (m.w.type == TensorType::kF16 && is_direct) {
      dot_tokens(reinterpret_cast<const Half*>(stored), m, row, n_rows);
    } else if (m.w.type == TensorType::kBF16 && is_direct) {
      dot_tokens(reinterpret_cast<const Bfloat*>(stored), m, row, n_rows);
    } else {
      for (int r = 0; r < n_rows; ++r) {
        dequantize(m.w.type, stored + static_cast<std::size_t>(r) * row_bytes, panel + r * m.w.cols,
                   m.w.cols);
      }
      dot_tokens(panel, m, row, n_rows);
    }
  }
}
