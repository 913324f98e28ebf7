// The integer dot products of ARM's dotprod, for quad_sums.inl: of bytes with a sign, which whole
// bytes get first.

constexpr int kTakenOffBytes = 128;
constexpr bool kTakesOffPairs = false;
template <bool>
using PanelQuad = Bytes;
template <typename Vec>
using SubScale = Vec;

template <int kLargest, int kN, int T, typename Inputs>
inline __attribute__((always_inline)) void add_quads(Sums* sums, const Bytes* weights,
                                                     Inputs inputs) {
#pragma GCC unroll 8
  for (int j = 0; j < kN; ++j) {
    int8x16_t numbers[kByteParts];
    for (int i = 0; i < kByteParts; ++i) {
      const auto w = (uint8x16_t)weights[j].part[i];
      numbers[i] = vreinterpretq_s8_u8(kLargest == 255 ? veorq_u8(w, vdupq_n_u8(128)) : w);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(inputs(t)[j]));
      for (int i = 0; i < kByteParts; ++i)
        sums[t].part[i] = (native_int)vdotq_s32((int32x4_t)sums[t].part[i], numbers[i], x);
    }
  }
}
