// The fields of a table whose products are of int8, of bfloat16 or of floats. Inputs: the int8
// ones, then the bfloat16 ones.

static std::size_t packed_bytes_of(TensorType type, std::int64_t cols) {
  return is_half(type) ? half_group_bytes(cols) : kInt8GroupBytes(type, cols);
}
static void pack(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                 std::int64_t row, std::byte* out) {
  (is_half(type) ? pack_halves : kPackInt8)(type, data, rows, cols, row, out);
}
constexpr auto kPackedBytes = packed_bytes_of;
constexpr auto kPack = pack;

static std::size_t half_inputs_at(std::int64_t cols, int n_tokens) {
  return (int8_input_bytes(cols, n_tokens) + 63) / 64 * 64;
}
static std::size_t input_bytes(std::int64_t cols, int n_tokens) {
  return half_inputs_at(cols, n_tokens) + half_input_bytes(cols, n_tokens);
}

static void prepare(unsigned forms, const float* x, std::int64_t cols, std::int64_t first,
                    std::int64_t last, int token, int n_tokens, std::byte* inputs) {
  if ((forms & kInt8Inputs) != 0) prepare_int8(x, cols, first, last, token, n_tokens, inputs);
  if ((forms & kBfloatInputs) != 0) {
    prepare_halves(x, cols, first, last, token, n_tokens, inputs + half_inputs_at(cols, n_tokens));
  }
}

static void multiply_inputs(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                            std::byte* scratch) {
  if (!is_half(m.w.type)) return multiply_int8(m, first_row, last_row, scratch);
  multiply_halves(m, m.inputs + half_inputs_at(m.w.cols, m.n_tokens), first_row, last_row, scratch);
}
constexpr auto kBfloatPeak = bfloat_peak;
