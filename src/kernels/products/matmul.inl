// The float matrix product.

// R rows of weights times T tokens. Each lane of an accumulator takes its products in the order of
// k, so the result does not depend on R or T.
template <int R, int T, typename W>
static void dot_block(const W* w, std::int64_t stride, const Matmul& m, std::int64_t row,
                      int token) {
  Vec acc[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) acc[r][t] = splat(0);
  }
  const std::int64_t cols = m.w.cols;
  const float* x = m.x + token * m.x_stride;
  // Rows side by side are as many streams, which memory gives slowly: where each weight is used
  // once, the next rows are fetched meanwhile, from end to end.
  const auto* next = reinterpret_cast<const char*>(w + R * stride);
  const auto accumulate = [&](std::int64_t k, auto take) __attribute__((always_inline)) {
    if constexpr (T == 1) {
      constexpr std::int64_t kBytes = R * kTile * static_cast<std::int64_t>(sizeof(W));
      fetch_bytes(next + k / kTile * kBytes, kBytes);
    }
    Vec xs[T];
    for (int t = 0; t < T; ++t) xs[t] = take(x + t * m.x_stride + k);
    for (int r = 0; r < R; ++r) {
      const Vec weights = take(w + r * stride + k);
      for (int t = 0; t < T; ++t) acc[r][t] = multiply_add(weights, xs[t], acc[r][t]);
    }
  };
  std::int64_t k = 0;
  for (; k + kTile <= cols; k += kTile) {
    accumulate(
        k, [](const auto* p) __attribute__((always_inline)) { return widen16(p); });
  }
  if (k < cols) {
    const int left = static_cast<int>(cols - k);
    accumulate(
        k, [&](const auto* p) __attribute__((always_inline)) { return widen_some(p, left); });
  }
  for (int r = 0; r < R; ++r) {
    const float bias = m.bias != nullptr ? m.bias[row + r] : 0.0f;
    for (int t = 0; t < T; ++t)
      m.y[(token + t) * m.y_stride + row + r] = sum_lanes(acc[r][t]) + bias;
  }
}

template <int R, int T, typename W>
static void dot_rows(const W* w, std::int64_t stride, const Matmul& m, std::int64_t row, int n_rows,
                     int token) {
  int r = 0;
  for (; r + R <= n_rows; r += R) dot_block<R, T>(w + r * stride, stride, m, row + r, token);
  for (; r < n_rows; ++r) dot_block<1, T>(w + r * stride, stride, m, row + r, token);
}

template <typename W>
static void dot_tokens(const W* w, std::int64_t stride, const Matmul& m, std::int64_t row,
                       int n_rows) {
  int token = 0;
  for (; token + kTokenBlock <= m.n_tokens; token += kTokenBlock)
    dot_rows<kRowBlock, kTokenBlock>(w, stride, m, row, n_rows, token);
  for (; token < m.n_tokens; ++token) dot_rows<8, 1>(w, stride, m, row, n_rows, token);
}

// Of a panel so many columns stay in the first level of cache together, and so many tokens' sums
// near by; of the inputs so many bytes in the second level, while all rows pass.
constexpr std::int64_t kPanelCols = 384;
constexpr int kPanelRows = 4;  // by kTokensTogether: the register tile
constexpr int kPanelTokens = 8 * kTokensTogether;
constexpr std::int64_t kPanelInputBytes = 1 << 20;
using PanelSums = float[kPanelTokens][kGroupRows][kTile];

// What dot_block() does with `n` columns, whole vectors of them: R rows of a panel times T tokens.
// A part of all vectors after the other, for registers hold more sums of one part.
template <int R, int T>
static void add_panel_block(const float* panel, std::int64_t stride, const float* x,
                            std::int64_t x_stride, std::int64_t n, bool is_first,
                            float (*sums)[kGroupRows][kTile]) {
  const auto load_part = [](const float* p) __attribute__((always_inline)) {
    native v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  };
  for (int at = 0; at < kTile; at += kLanes) {
    native acc[R * T];
    repeat<R * T>([&](int i) __attribute__((always_inline)) {
      acc[i] = is_first ? native{} : load_part(&sums[i % T][i / T][at]);
    });
    for (std::int64_t k = at; k < n; k += kTile) {
      native xs[T];
      repeat<T>([&](int t)
                    __attribute__((always_inline)) { xs[t] = load_part(x + t * x_stride + k); });
      repeat<R>([&](int r) __attribute__((always_inline)) {
        const native w = load_part(panel + r * stride + k);
        repeat<T>([&](int t) __attribute__((always_inline)) {
          acc[r * T + t] = multiply_add(w, xs[t], acc[r * T + t]);
        });
      });
    }
    repeat<R * T>([&](int i) __attribute__((always_inline)) {
      __builtin_memcpy(&sums[i % T][i / T][at], &acc[i], sizeof(native));
    });
  }
}

// All rows of a panel times T tokens.
template <int T>
static void add_panel_rows(const float* panel, std::int64_t stride, int n_rows, const float* x,
                           std::int64_t x_stride, std::int64_t n, bool is_first,
                           float (*sums)[kGroupRows][kTile]) {
  int r = 0;
  const auto of_rows = [&](int row) {
    return reinterpret_cast<float(*)[kGroupRows][kTile]>(&sums[0][row]);
  };
  for (; r + kPanelRows <= n_rows; r += kPanelRows)
    add_panel_block<kPanelRows, T>(panel + r * stride, stride, x, x_stride, n, is_first,
                                   of_rows(r));
  for (; r < n_rows; ++r)
    add_panel_block<1, T>(panel + r * stride, stride, x, x_stride, n, is_first, of_rows(r));
}

// The columns from `first` to `last` of a panel times T tokens from `token` on.
template <int T>
static void add_panel_cols(const float* panel, std::int64_t stride, int n_rows, const Matmul& m,
                           int token, std::int64_t first, std::int64_t last,
                           float (*sums)[kGroupRows][kTile]) {
  const float* x = m.x + token * m.x_stride;
  const std::int64_t whole = first + (last - first) / kTile * kTile;
  if (whole > first)
    add_panel_rows<T>(panel + first, stride, n_rows, x + first, m.x_stride, whole - first,
                      first == 0, sums);
  if (whole == last) return;
  float rest[T][kTile] = {};
  for (int t = 0; t < T; ++t) {
    for (std::int64_t k = whole; k < last; ++k) rest[t][k - whole] = x[t * m.x_stride + k];
  }
  add_panel_rows<T>(panel + whole, stride, n_rows, rest[0], kTile, kTile, whole == 0, sums);
}

// All columns of a panel. Meanwhile the rows that come after it are fetched, some with every step.
static void multiply_panel(const float* panel, std::int64_t stride, const Matmul& m,
                           std::int64_t row, int n_rows) {
  PanelSums sums;
  const auto row_bytes = static_cast<std::int64_t>(m.w.row_bytes());
  const std::byte* next = m.w.data + (row + kGroupRows) * row_bytes;
  const std::int64_t n_steps = (m.n_tokens / kTokensTogether + 1) * (m.w.cols / kPanelCols + 1);
  const std::int64_t step_bytes = (kGroupRows * row_bytes / n_steps / 64 + 1) * 64;
  for (int begin = 0; begin < m.n_tokens; begin += kPanelTokens) {
    const int n = m.n_tokens - begin < kPanelTokens ? m.n_tokens - begin : kPanelTokens;
    for (std::int64_t col = 0; col < m.w.cols; col += kPanelCols) {
      const std::int64_t end = col + kPanelCols < m.w.cols ? col + kPanelCols : m.w.cols;
      int t = 0;
      const auto add = [&](auto n_together) __attribute__((always_inline)) {
        fetch_bytes(next, step_bytes);
        next += step_bytes;
        add_panel_cols<n_together>(panel, stride, n_rows, m, begin + t, col, end, sums + t);
        t += n_together;
      };
      while (n - t >= kTokensTogether && n - t != kTokensTogether + 1)
        add(std::integral_constant<int, kTokensTogether>{});
      while (n - t >= 2) add(std::integral_constant<int, 2>{});
      if (t < n) add(std::integral_constant<int, 1>{});
    }
    for (int t = 0; t < n; ++t) {
      for (int r = 0; r < n_rows; ++r) {
        const float bias = m.bias != nullptr ? m.bias[row + r] : 0.0f;
        m.y[(begin + t) * m.y_stride + row + r] = sum_lanes(load(sums[t][r])) + bias;
      }
    }
  }
}

// A group of rows as they are stored: read by a few tokens as they are, by many as a panel.
template <typename W>
static void multiply_group(const Matmul& m, std::int64_t row, int n_rows, std::byte* scratch) {
  const std::int64_t cols = m.w.cols;
  const W* w = reinterpret_cast<const W*>(m.w.data) + row * cols;
  if (m.n_tokens <= 2 * kTokenBlock) return dot_tokens(w, cols, m, row, n_rows);
  auto* panel = reinterpret_cast<float*>(scratch);
  const std::int64_t stride = panel_stride(cols);
  for (int r = 0; r < n_rows; ++r) {
    std::int64_t k = 0;
    for (; k + kTile <= cols; k += kTile) store(panel + r * stride + k, widen16(w + r * cols + k));
    if (k < cols) {
      const Vec rest = widen_some(w + r * cols + k, static_cast<int>(cols - k));
      store(panel + r * stride + k, rest);
    }
  }
  multiply_panel(panel, stride, m, row, n_rows);
}

RUNNEL_INLINE int rows_of_group(std::int64_t row, std::int64_t last_row) {
  return static_cast<int>(last_row - row < kGroupRows ? last_row - row : kGroupRows);
}

// All rows, for as many tokens at a time as stay in cache.
template <typename W>
static void multiply_stored(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                            std::byte* scratch) {
  const std::int64_t block = m.w.cols * kPanelTokens * static_cast<std::int64_t>(sizeof(float));
  const int n_tokens = static_cast<int>(kPanelInputBytes / block + 1) * kPanelTokens;
  for (int token = 0; token < m.n_tokens; token += n_tokens) {
    Matmul some = m;
    some.x += token * m.x_stride;
    some.y += token * m.y_stride;
    some.n_tokens = m.n_tokens - token < n_tokens ? m.n_tokens - token : n_tokens;
    for (std::int64_t row = first_row; row < last_row; row += kGroupRows)
      multiply_group<W>(some, row, rows_of_group(row, last_row), scratch);
  }
}

// Blocks of a type that is never packed.
static void multiply_dequantized(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                                 std::byte* scratch) {
  auto* rows = reinterpret_cast<float*>(scratch);
  for (std::int64_t row = first_row; row < last_row; row += kGroupRows) {
    const int n_rows = rows_of_group(row, last_row);
    dequantize_row(m.w.type, m.w.data + static_cast<std::size_t>(row) * m.w.row_bytes(), rows,
                   n_rows * m.w.cols);
    dot_tokens(rows, m.w.cols, m, row, n_rows);
  }
}

RUNNEL_INLINE bool is_half(TensorType type) {
  return type == TensorType::kF16 || type == TensorType::kBF16;
}

static Numbers numbers(const Matrix& w) {
  if (w.packed == nullptr) return Numbers::kFloat;
  return is_half(w.type) ? Numbers::kBFloat16 : Numbers::kInt8;
}

static unsigned wanted_inputs(const Matrix& w) {
  constexpr unsigned kForms[kNumberKinds] = {0, kInt8Inputs, kBfloatInputs};
  return kForms[static_cast<int>(numbers(w))];
}
static void multiply_int8(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                          std::byte* scratch) {
  (is_k_type(m.w.type) ? multiply_k_blocks : multiply_blocks)(m, first_row, last_row, scratch);
}
static void multiply_inputs(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                            std::byte* scratch);

static void matmul(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                   std::byte* scratch) {
  if (wanted_inputs(m.w) != 0) return multiply_inputs(m, first_row, last_row, scratch);
  switch (m.w.type) {
    case TensorType::kF32:
      return multiply_stored<float>(m, first_row, last_row, scratch);
    case TensorType::kF16:
      return multiply_stored<Half>(m, first_row, last_row, scratch);
    case TensorType::kBF16:
      return multiply_stored<Bfloat>(m, first_row, last_row, scratch);
    default:
      return multiply_dequantized(m, first_row, last_row, scratch);
  }
}
