// The kernels for AVX-512 (F, BW, DQ, VL, VNNI).
#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "kernels/blocks.h"
#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

constexpr const char* kName = "avx512";
constexpr int kLanes = 16;
constexpr int kRowBlock = 4;
constexpr int kTokenBlock = 4;
constexpr int kPackedTokens = 8;
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

template <bool kFull>
inline Sums dot_quads(Sums sums, const Bytes& weights, std::int32_t quad) {
  sums.part[0] = (native_int)_mm512_dpbusd_epi32((__m512i)sums.part[0], (__m512i)weights.part[0],
                                                 _mm512_set1_epi32(quad));
  return sums;
}

inline Bytes look_up(Bytes codes) {
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2M1)));
  codes.part[0] = (byte_vector)_mm512_shuffle_epi8(table, (__m512i)codes.part[0]);
  return codes;
}

#include "kernels/generic.inl"

}  // namespace

const Table kAvx512 = {
#include "kernels/table_rows.inl"
};

}  // namespace runnel::kernels
