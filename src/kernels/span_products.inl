// The int8 products of the matrix unit, and of VNNI where tokens are few.

// From so many tokens on, a panel of digits is sooner made than multiplied without.
constexpr int kLeastTileTokens = 8;

constexpr auto kInt8GroupBytes = span_group_bytes;
constexpr auto kPackInt8 = pack_spans;
constexpr auto prepare_int8 = prepare_spans;

static std::size_t int8_input_bytes(std::int64_t cols, int n_tokens) {
  return static_cast<std::size_t>(n_spans(cols) * kSpanInputBytes * n_tokens);
}

static void multiply_int8(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                          std::byte* scratch) {
  with_packed_format(m.w.type, [&]<PackedFormat F>() {
    m.n_tokens < kLeastTileTokens ? span_rows<F>(m, first_row, last_row)
                                  : span_tiles<F>(m, first_row, last_row, scratch);
  });
}
