// Vectors of 8 floats: AVX2 with FMA and F16C.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/pack/blocks.h"
#include "kernels/tables/parts.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

#include "kernels/vectors/repeat.inl"

constexpr int kLanes = 8;
constexpr int kRegisters = 16;
constexpr int kRowBlock = 2;
constexpr int kTokenBlock = 2;
constexpr int kTokensTogether = 3;
typedef float native __attribute__((vector_size(32)));
typedef std::int32_t native_int __attribute__((vector_size(32)));
typedef std::uint16_t byte_vector __attribute__((vector_size(32)));
constexpr int kByteParts = 2;

// 64 weights, the quads of 16 rows, and their 16 integer sums.
struct Bytes {
  byte_vector part[kByteParts];
};
struct Sums {
  native_int part[kTile / kLanes];
};

inline float half_value(std::uint16_t h) { return _cvtsh_ss(h); }
inline native load_half(const std::uint16_t* p) {
  return (native)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline native load_bfloat(const std::uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return (native)_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline native load_int8(const std::int8_t* p) {
  return (native)_mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
template <int kHalf>
inline native load_codes(const std::uint8_t* p) {
  __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  if constexpr (kHalf == 1) codes = _mm_srli_epi16(codes, 4);
  const __m128i numbers =
      _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kKvCodes)),
                       _mm_and_si128(codes, _mm_set1_epi8(15)));
  return (native)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(numbers));
}
inline native multiply_add(native a, native b, native c) {
  return (native)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

// e^x = 2^n * 2^r with |r| <= 1/2: a polynomial through (2^r - 1) / r at Chebyshev's points. Adding
// 1.5 * 2^23 rounds to a whole number, whose bits are the lowest ones then.
inline native exp_native(native x) {
  const __m256 least = _mm256_set1_ps(-87.3f);
  const __m256 log2_e = _mm256_set1_ps(1.44269502f);
  const __m256 rest_of_log2_e = _mm256_set1_ps(1.92596299e-8f);
  const __m256 magic = _mm256_set1_ps(12582912.0f);
  const __m256 within =
      _mm256_min_ps(_mm256_set1_ps(88.3f), _mm256_max_ps(least, (__m256)x));  // if x is a number
  const __m256 t = _mm256_fmadd_ps(within, log2_e, magic);
  const __m256 r = _mm256_fmadd_ps(within, rest_of_log2_e,
                                   _mm256_fmsub_ps(within, log2_e, _mm256_sub_ps(t, magic)));
  __m256 p = _mm256_set1_ps(1.5453162942e-04f);
  for (const float c : {1.3390863365e-03f, 9.6180825573e-03f, 5.5503571142e-02f, 2.4022650761e-01f,
                        6.9314718803e-01f, 1.0f})
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
  const __m256 power = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  return (native)_mm256_andnot_ps(_mm256_cmp_ps((__m256)x, least, _CMP_LT_OQ), power);
}

// 32 whole numbers of int8's range to out.q and out.pair_sums.
inline void put_numbers(const native (&first)[2], const native (&second)[2], InputChunk& out) {
  const auto whole = [](native v) { return _mm256_cvtps_epi32((__m256)v); };
  const __m256i words = _mm256_packs_epi32(whole(first[0]), whole(first[1]));
  const __m256i later = _mm256_packs_epi32(whole(second[0]), whole(second[1]));
  const __m256i bytes =  // a pack takes its halves from both halves of either
      _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, later),
                                  _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.q), bytes);
  __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  pairs = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
  pairs = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0xb1));
  const __m128i halves[2] = {_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)};
  _mm_storeu_si32(out.pair_sums[0], halves[0]);
  _mm_storeu_si32(out.pair_sums[1], halves[1]);
  _mm_storeu_si32(out.pair_sums[2], _mm_add_epi16(halves[0], halves[1]));
}

inline Bytes look_up(Bytes codes) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2M1)));
  for (auto& part : codes.part) part = (byte_vector)_mm256_shuffle_epi8(table, (__m256i)part);
  return codes;
}

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
