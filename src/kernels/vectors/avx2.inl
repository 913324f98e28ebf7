// AVX2 and FMA, where products of bytes are added in 16 bits first.
#include "kernels/vectors/ymm.inl"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

constexpr int kPackedTokens = 4;
typedef std::int16_t Pairs __attribute__((vector_size(32)));
inline Pairs multiply_pairs(byte_vector weights, std::int32_t quad) {
  return (Pairs)_mm256_maddubs_epi16((__m256i)weights, _mm256_set1_epi32(quad));
}
inline Pairs multiply_bytes(byte_vector weights, std::int32_t quad) {
  const __m256i number = _mm256_xor_si256((__m256i)weights, _mm256_set1_epi8(-128));
  const __m256i x = _mm256_sign_epi8(_mm256_set1_epi32(quad), number);  // its sign goes there
  return (Pairs)_mm256_maddubs_epi16(_mm256_abs_epi8(number), x);
}
inline Pairs splat_pair(const std::int16_t* p) {
  std::int32_t both;
  __builtin_memcpy(&both, p, sizeof(both));
  return (Pairs)_mm256_set1_epi32(both);
}
inline native_int add_pairs(Pairs p) {
  return (native_int)_mm256_madd_epi16((__m256i)p, _mm256_set1_epi16(1));
}
inline native_int multiply_wide(Pairs a, Pairs b) {
  return (native_int)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}
inline Pairs load_twice(const std::int8_t* p) {
  const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return (Pairs)_mm256_blend_epi16(wide, _mm256_slli_epi32(wide, 16), 0xaa);
}
template <typename V>
inline void in_register(V& v) {
  __asm__("" : "+x"(v));
}
// clang-format off
#include "kernels/products/pair_sums.inl"
#include "kernels/products/wide_sums.inl"
// clang-format on

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
