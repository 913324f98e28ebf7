// The kernels for AVX-512 (F, BW, DQ, VL, VNNI).
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

constexpr const char* kName = "avx512";
// clang-format off
#include "kernels/avx512_vectors.inl"
#include "kernels/avx512_quads.inl"
// clang-format on
#include "kernels/generic.inl"

}  // namespace

const Table kAvx512 = {
#include "kernels/table_rows.inl"
    .attend = attend,
    .attention_scratch_bytes = attention_scratch_bytes,
    .query_rows = 32,
    .attention_numbers = Numbers::kFloat,
    .numbers = numbers,
    .peaks = {float_peak, int8_peak, nullptr},
};

}  // namespace runnel::kernels
