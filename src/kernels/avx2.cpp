// The kernels for AVX2 with FMA and F16C.
#include <immintrin.h>

#include <cstdint>

#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

constexpr const char* kName = "avx2";
constexpr int kLanes = 8;
constexpr int kRowBlock = 2;
constexpr int kTokenBlock = 2;
typedef float native __attribute__((vector_size(32)));
typedef std::int32_t native_int __attribute__((vector_size(32)));

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

#include "kernels/generic.inl"

}  // namespace

const Table kAvx2 = {
#include "kernels/table_rows.inl"
};

}  // namespace runnel::kernels
