// The integer dot products of AVX512-VNNI, as packed.inl wants them.

constexpr int kPackedTokens = 8;
constexpr int kTakenOffBytes = 0;
constexpr bool kTakesOffPairs = false;
template <bool>
using PanelQuad = Bytes;
template <typename Vec>
using SubScale = Vec;

// Written out, for the compiler would broadcast the quad by an instruction of its own.
inline void add_quad(Sums& sums, const Bytes& weights, const quad_word& quad) {
  __m512i acc = (__m512i)sums.part[0];
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"((__m512i)weights.part[0]), "m"(quad));
  sums.part[0] = (native_int)acc;
}

template <int kLargest, int kN, int T, typename Inputs>
inline __attribute__((always_inline)) void add_quads(Sums* sums, const Bytes* weights,
                                                     Inputs inputs) {
  Sums odd = {};  // a second chain, for a token alone
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const quad_word* x = inputs(t);
#pragma GCC unroll 8
    for (int j = 0; j < kN; ++j) add_quad(T == 1 && j % 2 == 1 ? odd : sums[t], weights[j], x[j]);
  }
  if constexpr (T == 1) sums[0].part[0] += odd.part[0];
}
