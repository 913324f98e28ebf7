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
constexpr int kPackedTokens = 8;

#include "kernels/avx512_vectors.inl"

template <bool kFull>
inline Sums dot_quads(Sums sums, const Bytes& weights, std::int32_t quad) {
  sums.part[0] = (native_int)_mm512_dpbusd_epi32((__m512i)sums.part[0], (__m512i)weights.part[0],
                                                 _mm512_set1_epi32(quad));
  return sums;
}

#include "kernels/generic.inl"

}  // namespace

const Table kAvx512 = {
#include "kernels/table_rows.inl"
    .attend = attend,
    .attention_scratch_bytes = attention_scratch_bytes,
    .query_rows = 32,
    .attends_in_matrix_numbers = false,
};

}  // namespace runnel::kernels
