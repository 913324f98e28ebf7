// Vectors of 8 floats: AVX2 with FMA and F16C.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/pack/blocks.h"
#include "kernels/tables/parts.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

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

inline Bytes look_up(Bytes codes) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2M1)));
  for (auto& part : codes.part) part = (byte_vector)_mm256_shuffle_epi8(table, (__m256i)part);
  return codes;
}

#include "kernels/vectors/exp.inl"

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
