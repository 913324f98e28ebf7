// AVX2 and FMA with dot products of four bytes (AVX-VNNI), for processors without AVX-512.
#include "kernels/vectors/ymm.inl"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

constexpr int kPackedTokens = 4;
constexpr int kTakenOffBytes = 0;
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
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m256i x = _mm256_set1_epi32(inputs(t)[j]);
      for (int i = 0; i < kByteParts; ++i) {
        sums[t].part[i] = (native_int)_mm256_dpbusd_avx_epi32((__m256i)sums[t].part[i],
                                                              (__m256i)weights[j].part[i], x);
      }
    }
  }
}

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
