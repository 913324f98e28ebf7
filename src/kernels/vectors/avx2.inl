// AVX2 and FMA, where products of bytes are added in 16 bits first.
#include "kernels/vectors/ymm.inl"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

constexpr int kPackedTokens = 4;
typedef std::int16_t Pairs __attribute__((vector_size(32)));
template <int kLargest>
inline Pairs multiply_pairs(byte_vector weights, std::int32_t quad) {
  const auto w = (__m256i)weights;
  const __m256i x = _mm256_set1_epi32(quad);
  if constexpr (kLargest < 255) return (Pairs)_mm256_maddubs_epi16(w, x);
  const __m256i number = _mm256_xor_si256(w, _mm256_set1_epi8(-128));  // its sign goes to x
  return (Pairs)_mm256_maddubs_epi16(_mm256_abs_epi8(number), _mm256_sign_epi8(x, number));
}
inline native_int add_pairs(Pairs p) {
  return (native_int)_mm256_madd_epi16((__m256i)p, _mm256_set1_epi16(1));
}
inline void in_register(Pairs& p) { __asm__("" : "+x"(p)); }
#include "kernels/products/pair_sums.inl"

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
