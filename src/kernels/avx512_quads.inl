// The integer dot products of AVX512-VNNI, as packed.inl wants them.

constexpr int kPackedTokens = 8;

// Written out, for the compiler would broadcast the quad by an instruction of its own.
template <bool kFull>
inline Sums dot_quads(Sums sums, const Bytes& weights, const quad_word& quad) {
  __m512i acc = (__m512i)sums.part[0];
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"((__m512i)weights.part[0]), "m"(quad));
  sums.part[0] = (native_int)acc;
  return sums;
}
