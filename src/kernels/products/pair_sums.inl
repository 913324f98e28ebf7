// The integer dot products of processors that add two products of bytes in 16 bits: as many of
// these sums are added up as fit, and only then made 32 bits wide. For quad_sums.inl, and wanting:
//
//   Pairs                               one part's sums of two products, in 16 bits
//   multiply_pairs<kLargest>(part, x)   of a part's weights with a quad; whole bytes (255) made
//                                       signed first, which takes kTakenOffBytes off them
//   add_pairs(pairs)                    neighbours added, in 32 bits
//   in_register(pairs)                  so far summed up: where registers are enough for all sums,
//                                       or the compiler would make all products first, in memory

constexpr int kTakenOffBytes = 128;

template <int kLargest, int kN, int T, typename Inputs>
inline __attribute__((always_inline)) void add_quads(Sums* sums, const Bytes* weights,
                                                     Inputs inputs) {
  constexpr int kTogether = sums_that_fit(kLargest, kN);
  Pairs pairs[T][kByteParts];
#pragma GCC unroll 8
  for (int j = 0; j < kN; ++j) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const quad_word x = inputs(t)[j];
      for (int i = 0; i < kByteParts; ++i) {
        const Pairs two = multiply_pairs<kLargest>(weights[j].part[i], x);
        pairs[t][i] = j % kTogether == 0 ? two : pairs[t][i] + two;
        in_register(pairs[t][i]);
        if (j % kTogether == kTogether - 1 || j == kN - 1)
          sums[t].part[i] += add_pairs(pairs[t][i]);
      }
    }
  }
}
