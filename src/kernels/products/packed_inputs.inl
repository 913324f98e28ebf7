// Inputs of products by packed weights, and the most that such products could do. After
// quad_sums.inl.

constexpr auto kInt8GroupBytes = packed_bytes;
constexpr auto kPackInt8 = pack_group;

static std::size_t int8_input_bytes(std::int64_t cols, int n_tokens) {
  return sizeof(InputChunk) * static_cast<std::size_t>((cols + 31) / 32 * n_tokens);
}

constexpr std::int64_t kInputColumns = 32;

static void prepare_int8(const float* x, std::int64_t cols, std::int64_t first, std::int64_t last,
                         int token, int n_tokens, std::byte* inputs) {
  const InputPlace place = input_place(token, n_tokens, cols);
  InputChunk* out = reinterpret_cast<InputChunk*>(inputs) + place.first + first / 32 * place.stride;
  for (std::int64_t col = first; col + 32 <= last; col += 32, out += place.stride) {
    const Vec a = load(x + col);
    const Vec b = load(x + col + 16);
    const Int8Scale scale = int8_scale(max_lane(max(sizes(a), sizes(b))));
    const Vec rounded_a = round_times(a, scale.inverse);
    const Vec rounded_b = round_times(b, scale.inverse);
    store_int8(out->q, rounded_a);
    store_int8(out->q + 16, rounded_b);
    out->scale = scale.value;
    out->half_sums[0] = static_cast<std::int16_t>(sum_lanes(rounded_a));  // exact
    out->half_sums[1] = static_cast<std::int16_t>(sum_lanes(rounded_b));
    out->sum = out->half_sums[0] + out->half_sums[1];
    out->scaled_sum = scale.value * static_cast<float>(out->sum);
  }
}

// Products of 4-bit weights.
static std::int64_t int8_peak(std::int64_t rounds, float* sink) {
  constexpr int kTokens = kPackedTokens;
  Sums acc[kTokens];
  repeat<kTokens>([&](int t) { acc[t] = bits_of(start_of_chain(t)); });
  Bytes weights[8];
  __builtin_memset(&weights, 1, sizeof(weights));
  quad_word inputs[kTokens][8];  // made new in every round: what stays the same is taken once
  for (int t = 0; t < kTokens; ++t) {
    for (quad_word& quad : inputs[t]) quad = static_cast<quad_word>(*sink) + t;
  }
  for (std::int64_t round = 0; round < rounds; ++round) {
    __asm__("" : "+m"(inputs), "+m"(weights));
    add_quads<15, 8, kTokens>(acc, weights, [&](int t) { return inputs[t]; });
  }
  // Of all lanes: a part that nobody asks for would not be computed.
  repeat<kTokens>([&](int t) { *sink += sum_lanes(to_float(acc[t])); });
  return rounds * kTokens * 8 * 4 * kTile;
}
