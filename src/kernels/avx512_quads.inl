// The integer dot products of AVX512-VNNI, as packed.inl wants them.

constexpr int kPackedTokens = 8;

template <bool kFull>
inline Sums dot_quads(Sums sums, const Bytes& weights, std::int32_t quad) {
  sums.part[0] = (native_int)_mm512_dpbusd_epi32((__m512i)sums.part[0], (__m512i)weights.part[0],
                                                 _mm512_set1_epi32(quad));
  return sums;
}
