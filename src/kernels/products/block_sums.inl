// The integer dot products of ARM's i8mm, for quad_sums.inl: eight columns of two rows with those
// of two tokens at once. Source: Arm Architecture Reference Manual for A-profile, USMMLA (vector)
// and USDOT.

constexpr int kTakenOffBytes = 0;
constexpr bool kTakesOffPairs = false;
template <bool>
using PanelQuad = Bytes;
template <typename Vec>
using SubScale = Vec;

template <int kN, int T, typename Inputs>
inline __attribute__((always_inline)) void add_quads_of_pairs(Sums* sums, const Bytes* weights,
                                                              Inputs inputs) {
  int32x4_t blocks[T / 2][kByteParts][2] =
      {};  // rows (0, 1) and (2, 3) of a part: row by row, the two tokens
#pragma GCC unroll 4
  for (int j = 0; j < kN; j += 2) {
    int32x4_t x[T / 2];
    for (int p = 0; p < T / 2; ++p) {
      const quad_word quads[4] = {inputs(2 * p)[j], inputs(2 * p)[j + 1], inputs(2 * p + 1)[j],
                                  inputs(2 * p + 1)[j + 1]};
      __builtin_memcpy(&x[p], quads, sizeof(quads));
    }
#pragma GCC unroll 4
    for (int i = 0; i < kByteParts; ++i) {
      const auto a = (int32x4_t)weights[j].part[i];
      const auto b = (int32x4_t)weights[j + 1].part[i];
      const uint8x16_t rows[2] = {vreinterpretq_u8_s32(vzip1q_s32(a, b)),
                                  vreinterpretq_u8_s32(vzip2q_s32(a, b))};
      for (int p = 0; p < T / 2; ++p) {
        for (int half = 0; half < 2; ++half)
          blocks[p][i][half] =
              vusmmlaq_s32(blocks[p][i][half], rows[half], vreinterpretq_s8_s32(x[p]));
      }
    }
  }
  for (int p = 0; p < T / 2; ++p) {
    for (int i = 0; i < kByteParts; ++i) {
      const int32x4_t* const halves = blocks[p][i];
      sums[2 * p].part[i] += (native_int)vuzp1q_s32(halves[0], halves[1]);
      sums[2 * p + 1].part[i] += (native_int)vuzp2q_s32(halves[0], halves[1]);
    }
  }
}

template <int kLargest, int kN, int T, typename Inputs>
inline __attribute__((always_inline)) void add_quads(Sums* sums, const Bytes* weights,
                                                     Inputs inputs) {
  static_assert(kN % 2 == 0 && (T == 1 || T % 2 == 0));
  if constexpr (T > 1) return add_quads_of_pairs<kN, T>(sums, weights, inputs);
#pragma GCC unroll 8
  for (int j = 0; j < kN; ++j) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(inputs(0)[j]));
    for (int i = 0; i < kByteParts; ++i)
      sums[0].part[i] =
          (native_int)vusdotq_s32((int32x4_t)sums[0].part[i], (uint8x16_t)weights[j].part[i], x);
  }
}
