// The kernels for processors with a matrix unit (AMX-BF16): products of whole tiles of bfloat16
// numbers. What is not a matrix product is as for AVX-512.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/blocks.h"
#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "kernels/spans.h"
#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

constexpr const char* kName = "amx";

// Each file builds on those before it.
// clang-format off
#include "kernels/avx512_vectors.inl"
#include "kernels/avx512_quads.inl"
#include "kernels/vector.inl"
#include "kernels/dot.inl"
#include "kernels/matmul.inl"
#include "kernels/planes.inl"
#include "kernels/limits.inl"
#include "kernels/tiles.inl"
#include "kernels/amx_tiles.inl"
#include "kernels/quad_sums.inl"
#include "kernels/spans.inl"
#include "kernels/slabs.inl"
#include "kernels/span_tiles.inl"
#include "kernels/span_products.inl"
#include "kernels/half_products.inl"
#include "kernels/bfloat_products.inl"
#include "kernels/attention.inl"
#include "kernels/tile_attention.inl"
#include "kernels/elementwise.inl"
// clang-format on

}  // namespace

const Table kAmx = {
#include "kernels/table_rows.inl"
    .attend = attend_in_tiles,
    .attention_scratch_bytes = tile_scratch_bytes,
    .query_rows = 128,
    .attention_numbers = Numbers::kBFloat16,
    .numbers = numbers,
    .peaks = {float_peak, int8_peak, bfloat_peak},
};

}  // namespace runnel::kernels
