// The kernels for AVX2 with FMA and F16C.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/blocks.h"
#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

constexpr const char* kName = "avx2";
constexpr int kLanes = 8;
constexpr int kRowBlock = 2;
constexpr int kTokenBlock = 2;
constexpr int kPackedTokens = 4;
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
inline native multiply_add(native a, native b, native c) {
  return (native)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

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
#include "kernels/pair_sums.inl"

inline Bytes look_up(Bytes codes) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2M1)));
  for (auto& part : codes.part) part = (byte_vector)_mm256_shuffle_epi8(table, (__m256i)part);
  return codes;
}

// clang-format off
#include "kernels/exp.inl"
#include "kernels/generic.inl"
// clang-format on

}  // namespace

const Table kAvx2 = {
#include "kernels/table_rows.inl"
    .attend = attend,
    .attention_scratch_bytes = attention_scratch_bytes,
    .query_rows = 32,
    .attention_numbers = Numbers::kFloat,
    .numbers = numbers,
    .peaks = {float_peak, int8_peak, nullptr},
};

}  // namespace runnel::kernels
