// Products of whole bytes in 16 bits, where a panel of weights serves many tokens: as many
// instructions as products of bytes need for their signs, but half of them on any port. After
// pair_sums.inl, and wanting:
//
//   multiply_wide(a, b)   numbers of 16 bits multiplied and neighbours added, in 32 bits
//   load_twice(p)         numbers of 8 bits, each as two neighbours of 16

// A quad less kTakenOffBytes: its bytes 0 and 2, and 1 and 3.
struct WideQuad {
  Pairs even[kByteParts];
  Pairs odd[kByteParts];
};
template <bool kIsByte>
using PanelQuad = std::conditional_t<kIsByte, WideQuad, Bytes>;

// Scales that multiply sums of 16 bits as those are made wide.
struct PairScale {
  Pairs part[kByteParts];  // each row's twice
};
template <typename>
using SubScale = PairScale;
inline void load_sub_scale(const std::int8_t* p, PairScale& scale) {
  for (int i = 0; i < kByteParts; ++i) scale.part[i] = load_twice(p + i * kLanes);
}
inline __attribute__((always_inline)) native_int widen(Pairs pairs, const PairScale& scale,
                                                       int part) {
  return multiply_wide(pairs, scale.part[part]);
}

inline __attribute__((always_inline)) void put_quad(const Bytes& bytes, WideQuad& wide) {
  const auto signs = (Pairs)(byte_vector{} + static_cast<unsigned short>(0x8080));
  for (int i = 0; i < kByteParts; ++i) {
    const Pairs quad = (Pairs)bytes.part[i] ^ signs;
    wide.even[i] = quad << 8 >> 8;
    wide.odd[i] = quad >> 8;
  }
}

// The same of a token's 32 inputs: word j of both is quad j.
struct WideInputs {
  Pairs even;
  Pairs odd;
  static_assert(sizeof(Pairs) == 32);
};

// sums[t] += dot products of the 8 quads of a chunk.
template <int T>
inline __attribute__((always_inline)) void add_wide_quads(Sums* sums, const WideQuad* weights,
                                                          const WideInputs* inputs) {
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const auto word = [&](const Pairs& words) __attribute__((always_inline)) {
        return splat_pair(reinterpret_cast<const std::int16_t*>(&words) + 2 * j);
      };
      const Pairs even = word(inputs[t].even);
      const Pairs odd = word(inputs[t].odd);
      for (int i = 0; i < kByteParts; ++i) {
        sums[t].part[i] += multiply_wide(weights[j].even[i], even);
        in_register(sums[t].part[i]);
        sums[t].part[i] += multiply_wide(weights[j].odd[i], odd);
        in_register(sums[t].part[i]);
      }
    }
  }
}

// As of Bytes, with inputs that are widened.
template <int kLargest, int T, typename Words>
inline __attribute__((always_inline)) void add_panel_quads(Sums* sums, const WideQuad* weights,
                                                           const Words* inputs) {
  static_assert(sizeof(Words) == sizeof(WideInputs));
  add_wide_quads<T>(sums, weights, reinterpret_cast<const WideInputs*>(inputs));
}

template <int kQuads, int T, typename Inputs>
inline __attribute__((always_inline)) void dot_quads(Sums* sums, const WideQuad* weights,
                                                     Inputs inputs) {
  static_assert(kQuads == 8);
  WideInputs wide[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    Pairs quads;
    __builtin_memcpy(&quads, inputs(t), sizeof(quads));
    wide[t] = {quads << 8 >> 8, quads >> 8};
    __asm__("" : "+m"(wide[t]));  // or each word would be taken out of a register
  }
  add_wide_quads<T>(sums, weights, wide);
}
