// Inputs of products by packed weights, and the most that such products could do. After
// quad_sums.inl.

constexpr auto kInt8GroupBytes = packed_bytes;
constexpr auto kPackInt8 = pack_group;

static std::size_t int8_input_bytes(std::int64_t cols, int n_tokens) {
  return sizeof(InputChunk) * static_cast<std::size_t>((cols + 31) / 32 * n_tokens);
}

constexpr std::int64_t kInputColumns = 32;

// Sums of the lanes 0, 1, 4, 5, ... and of the others, which are whole numbers.
RUNNEL_INLINE void put_pair_sums(Vec v, std::int16_t* sums) {
  for (int half = kParts / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) v.part[i] += v.part[i + half];
  }
  native lanes = v.part[0];
  if constexpr (kLanes > 8) lanes += swap_halves<8>(lanes);
  if constexpr (kLanes > 4) lanes += swap_halves<4>(lanes);
  const native others = swap_halves<2>(lanes);
  sums[0] = static_cast<std::int16_t>((lanes + swap_halves<1>(lanes))[0]);
  sums[1] = static_cast<std::int16_t>((others + swap_halves<1>(others))[0]);
}

// 32 whole numbers to out.q and out.pair_sums; in the vectors' own way, if they have one.
template <typename Chunk>
RUNNEL_INLINE void put_chunk(const Vec& first, const Vec& second, Chunk& out) {
  if constexpr (requires { put_numbers(first.part, second.part, out); }) {
    put_numbers(first.part, second.part, out);
    return;
  }
  store_int8(out.q, first);
  store_int8(out.q + 16, second);
  put_pair_sums(first, out.pair_sums[0]);
  put_pair_sums(second, out.pair_sums[1]);
  for (int i = 0; i < 2; ++i)
    out.pair_sums[2][i] = static_cast<std::int16_t>(out.pair_sums[0][i] + out.pair_sums[1][i]);
}

static void prepare_int8(const float* x, std::int64_t cols, std::int64_t first, std::int64_t last,
                         int token, int n_tokens, std::byte* inputs) {
  const InputPlace place = input_place(token, n_tokens, cols);
  InputChunk* out = reinterpret_cast<InputChunk*>(inputs) + place.first + first / 32 * place.stride;
  for (std::int64_t col = first; col + 32 <= last; col += 32, out += place.stride) {
    const Vec a = load(x + col);
    const Vec b = load(x + col + 16);
    const Int8Scale scale = int8_scale(max_lane(max(sizes(a), sizes(b))));
    put_chunk(round_times(a, scale.inverse), round_times(b, scale.inverse), *out);
    out->scale = scale.value;
    out->sum = out->half_sum(2);
    out->scaled_sum = scale.value * static_cast<float>(out->sum);
  }
}

// The 8 quads of a chunk of a panel.
template <int kLargest, int T>
RUNNEL_INLINE void add_panel_quads(Sums* sums, const Bytes* weights,
                                   const quad_word (*inputs)[16]) {
  add_quads<kLargest, 8, T>(sums, weights, [&](int t) { return inputs[t]; });
}

// Products of weights up to kLargest, of 8 bits as they lie in a panel.
template <int kLargest>
static std::int64_t byte_peak(std::int64_t rounds, float* sink) {
  constexpr int kTokens = kPackedTokens;
  Sums acc[kTokens];
  repeat<kTokens>([&](int t) { acc[t] = bits_of(start_of_chain(t)); });
  PanelQuad<kLargest == 255> weights[8];
  __builtin_memset(&weights, 1, sizeof(weights));
  alignas(32)
      quad_word inputs[kTokens][16];  // made new in every round: what stays the same is taken once
  for (int t = 0; t < kTokens; ++t) {
    for (quad_word& quad : inputs[t]) quad = static_cast<quad_word>(*sink) + t;
  }
  for (std::int64_t round = 0; round < rounds; ++round) {
    __asm__("" : "+m"(inputs), "+m"(weights));
    add_panel_quads<kLargest, kTokens>(acc, weights, inputs);
  }
  // Of all lanes: a part that nobody asks for would not be computed.
  repeat<kTokens>([&](int t) { *sink += sum_lanes(to_float(acc[t])); });
  return rounds * kTokens * 8 * 4 * kTile;
}
constexpr auto int8_peak = byte_peak<15>;

static std::int64_t packed_peak(TensorType type, std::int64_t rounds, float* sink) {
  if constexpr (!kTakesOffPairs) return int8_peak(rounds, sink);
  const std::optional<PackedFormat> format = packed_format(type);
  if (!format) return int8_peak(rounds, sink);
  if (format->bits == 8) return byte_peak<255>(rounds, sink);
  const bool adds_eight = format->subs() == 1 && sums_that_fit(format->largest_size(), 8) == 8;
  return adds_eight ? int8_peak(rounds, sink) : byte_peak<31>(rounds, sink);  // or four
}
