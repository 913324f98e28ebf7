// Vectors of 16 floats: AVX-512 (F, BW, DQ, VL, VNNI). Of the tables avx512, avx512_bf16 and amx.
#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "kernels/pack/blocks.h"
#include "kernels/tables/parts.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

#include "kernels/vectors/repeat.inl"

constexpr int kLanes = 16;
constexpr int kRegisters = 32;
constexpr int kRowBlock = 4;
constexpr int kTokenBlock = 4;
constexpr int kTokensTogether = 4;
typedef float native __attribute__((vector_size(64)));
typedef std::int32_t native_int __attribute__((vector_size(64)));
typedef std::uint16_t byte_vector __attribute__((vector_size(64)));
constexpr int kByteParts = 1;

// 64 weights, the quads of 16 rows, and their 16 integer sums.
struct Bytes {
  byte_vector part[kByteParts];
};
struct Sums {
  native_int part[kTile / kLanes];
};

inline float half_value(std::uint16_t h) { return _cvtsh_ss(h); }
inline native load_half(const std::uint16_t* p) {
  return (native)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline native load_bfloat(const std::uint16_t* p) {
  const __m512i wide =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return (native)_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline native load_int8(const std::int8_t* p) {
  return (native)_mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
template <int kHalf>
inline native load_codes(const std::uint8_t* p) {
  alignas(64) static constexpr float kNumbers[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                     1,    13,   25,  38,  53,  69,  89,  113};
  // The permutation looks at the lowest four bits of each index.
  __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  if constexpr (kHalf == 1) codes = _mm512_srli_epi32(codes, 4);
  return (native)_mm512_permutexvar_ps(codes, _mm512_load_ps(kNumbers));
}
inline native multiply_add(native a, native b, native c) {
  return (native)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

// e^x = 2^n * 2^r with |r| <= 1/2: a polynomial through (2^r - 1) / r at Chebyshev's points.
inline native exp_native(native x) {
  const __m512 log2_e = _mm512_set1_ps(1.44269502f);
  const __m512 rest_of_log2_e = _mm512_set1_ps(1.92596299e-8f);
  x = (native)_mm512_min_ps(_mm512_set1_ps(88.3f), (__m512)x);
  const __m512 t = _mm512_mul_ps((__m512)x, log2_e);
  const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r =
      _mm512_fmadd_ps((__m512)x, rest_of_log2_e, _mm512_fmsub_ps((__m512)x, log2_e, n));
  __m512 p = _mm512_set1_ps(1.5453162942e-04f);
  for (const float c : {1.3390863365e-03f, 9.6180825573e-03f, 5.5503571142e-02f, 2.4022650761e-01f,
                        6.9314718803e-01f, 1.0f})
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  const __mmask16 is_normal = _mm512_cmp_ps_mask(t, _mm512_set1_ps(-126.0f), _CMP_GE_OQ);
  return (native)_mm512_maskz_scalef_ps(is_normal, p, n);
}

inline Bytes look_up(Bytes codes) {
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2M1)));
  codes.part[0] = (byte_vector)_mm512_shuffle_epi8(table, (__m512i)codes.part[0]);
  return codes;
}

#include "kernels/products/vnni_sums.inl"

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
