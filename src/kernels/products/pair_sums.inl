// The integer dot products of processors that add two products of bytes in 16 bits: as many of
// these sums are added up as fit, and only then made 32 bits wide. For quad_sums.inl, and wanting:
//
//   Pairs                    one part's sums of two products, in 16 bits
//   multiply_pairs(part, x)  of a part's weights, not above 127, with a quad
//   multiply_bytes(part, x)  of whole bytes, each less kTakenOffBytes, with a quad
//   splat_pair(p)            two numbers of 16 bits in each lane of 32
//   add_pairs(pairs)         neighbours added, in 32 bits
//   in_register(pairs)       so far summed up: where registers are enough for all sums, or the
//                            compiler would make all products first, in memory
//
// Sums of 16 bits may overflow on their way: what they come to fits, once offsets are taken off.

constexpr int kTakenOffBytes = 128;
constexpr bool kTakesOffPairs = true;

// sums[t] += those of weights less kOffset. x_pairs(t, run): sums of token t's inputs, of the first
// two of each quad and of the others, where quads are added up by `run` (4 or all); of the run that
// begins with quad j. widen(pairs, part): sums of 32 bits.
template <int kLargest, int kOffset, int kN, int T, typename Inputs, typename PairSums,
          typename Widen>
inline __attribute__((always_inline)) void add_offset_quads(Sums* sums, const Bytes* weights,
                                                            Inputs inputs, PairSums x_pairs,
                                                            Widen widen) {
  constexpr int kSize = kOffset > kLargest - kOffset ? kOffset : kLargest - kOffset;
  constexpr int kFit = kLargest > 127 ? 1 : sums_that_fit(kSize, kN);
  constexpr int kRun = kOffset == 0 || kFit == kN ? kFit : 4;
  static_assert(kRun <= kFit);
  Pairs pairs[T][kByteParts];
  repeat<kN>([&](int j) __attribute__((always_inline)) {
    repeat<T>([&](int t) __attribute__((always_inline)) {
      const quad_word x = inputs(t)[j];
      const bool is_first = j % kRun == 0;
      Pairs start = {};
      if constexpr (kOffset != 0) {
        if (is_first) start = splat_pair(x_pairs(t, j, kRun)) * static_cast<short>(kOffset);
      }
      repeat<kByteParts>([&](int i) __attribute__((always_inline)) {
        Pairs two;
        if constexpr (kLargest > 127) {
          two = multiply_bytes(weights[j].part[i], x);
        } else {
          two = multiply_pairs(weights[j].part[i], x);
        }
        if (!is_first) two = pairs[t][i] + two;
        if (is_first && kOffset != 0) two = two - start;
        in_register(two);
        if (j % kRun == kRun - 1 || j == kN - 1) sums[t].part[i] += widen(two, i);
        pairs[t][i] = two;
      });
    });
  });
}

template <int kLargest, int kN, int T, typename Inputs>
inline __attribute__((always_inline)) void add_quads(Sums* sums, const Bytes* weights,
                                                     Inputs inputs) {
  add_offset_quads<kLargest, 0, kN, T>(
      sums, weights, inputs, 0,
      [](Pairs pairs, int) __attribute__((always_inline)) { return add_pairs(pairs); });
}
