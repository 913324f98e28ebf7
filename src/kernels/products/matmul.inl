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

// Weights as they are stored: read by a few tokens as they are, by many as a panel.
template <typename W>
static void multiply_stored(const Matmul& m, std::int64_t row, int n_rows, std::byte* scratch) {
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
  dot_tokens(panel, stride, m, row, n_rows);
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
  for (std::int64_t row = first_row; row < last_row; row += kGroupRows) {
    const int n_rows = static_cast<int>(last_row - row < kGroupRows ? last_row - row : kGroupRows);
    switch (m.w.type) {
      case TensorType::kF32:
        multiply_stored<float>(m, row, n_rows, scratch);
        break;
      case TensorType::kF16:
        multiply_stored<Half>(m, row, n_rows, scratch);
        break;
      case TensorType::kBF16:
        multiply_stored<Bfloat>(m, row, n_rows, scratch);
        break;
      default: {
        auto* panel = reinterpret_cast<float*>(scratch);
        dequantize_row(m.w.type, m.w.data + static_cast<std::size_t>(row) * m.w.row_bytes(), panel,
                       n_rows * m.w.cols);
        dot_tokens(panel, m.w.cols, m, row, n_rows);
      }
    }
  }
}
