// Which products the matrix unit takes, and in which form inputs are for it.

// From so many tokens on, a panel of digits is sooner made than multiplied without.
constexpr int kLeastTileTokens = 8;

static unsigned wanted_inputs(const Matrix& w) {
  if (w.packed != nullptr) return kInt8Inputs;
  return w.type == TensorType::kF16 || w.type == TensorType::kBF16 ? kBfloatInputs : 0;
}

static Numbers numbers(const Matrix& w) {
  if (w.packed != nullptr) return Numbers::kInt8;
  return wanted_inputs(w) != 0 ? Numbers::kBFloat16 : Numbers::kFloat;
}

constexpr auto kPackedBytes = span_group_bytes;
constexpr auto kPack = pack_spans;

static std::size_t input_bytes(std::int64_t cols, int n_tokens) {
  return static_cast<std::size_t>(n_spans(cols) * kSpanInputBytes * n_tokens) +
         half_input_bytes(cols, n_tokens);
}

static void prepare_row(unsigned forms, const float* x, std::int64_t cols, int token, int n_tokens,
                        std::byte* inputs) {
  if ((forms & kInt8Inputs) != 0) prepare_spans(x, cols, token, n_tokens, inputs);
  if ((forms & kBfloatInputs) != 0) prepare_halves(x, cols, token, n_tokens, inputs);
}

static void multiply_inputs(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                            std::byte* scratch) {
  if (m.w.packed == nullptr) return half_tiles(m, first_row, last_row, scratch);
  with_packed_format(m.w.type, [&]<PackedFormat F>() {
    m.n_tokens < kLeastTileTokens ? span_rows<F>(m, first_row, last_row)
                                  : span_tiles<F>(m, first_row, last_row, scratch);
  });
}
