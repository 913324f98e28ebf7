// The kernels for AVX-512 (F, BW, DQ, VL, VNNI).
#include <immintrin.h>

#include <cstdint>

#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

constexpr const char* kName = "avx512";
constexpr int kLanes = 16;
constexpr int kRowBlock = 4;
constexpr int kTokenBlock = 4;
typedef float native __attribute__((vector_size(64)));
typedef std::int32_t native_int __attribute__((vector_size(64)));

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

#include "kernels/generic.inl"

}  // namespace

const Table kAvx512 = {
#include "kernels/table_rows.inl"
};

}  // namespace runnel::kernels
