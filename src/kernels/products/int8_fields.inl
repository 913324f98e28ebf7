// The fields of a table whose products are of int8 or of floats.

static void multiply_inputs(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                            std::byte* scratch) {
  multiply_int8(m, first_row, last_row, scratch);
}

constexpr auto kPackedBytes = kInt8GroupBytes;
constexpr auto kPack = kPackInt8;
constexpr auto input_bytes = int8_input_bytes;

static void prepare(unsigned /*forms*/, const float* x, std::int64_t cols, std::int64_t first,
                    std::int64_t last, int token, int n_tokens, std::byte* inputs) {
  prepare_int8(x, cols, first, last, token, n_tokens, inputs);
}
constexpr std::int64_t (*kBfloatPeak)(std::int64_t rounds, float* sink) = nullptr;
