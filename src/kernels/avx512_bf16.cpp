// The kernels for AVX-512 with dot products of bfloat16 pairs (F, BW, DQ, VL, VNNI, BF16): what is
// neither half-precision weights nor attention is as for AVX-512.
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

constexpr const char* kName = "avx512_bf16";

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
#include "kernels/dot_tiles.inl"
#include "kernels/quad_sums.inl"
#include "kernels/packed.inl"
#include "kernels/slabs.inl"
#include "kernels/half_products.inl"
#include "kernels/bfloat_products.inl"
#include "kernels/attention.inl"
#include "kernels/tile_attention.inl"
#include "kernels/elementwise.inl"
// clang-format on

}  // namespace

const Table kAvx512Bf16 = {
#include "kernels/table_rows.inl"
    .attend = attend_in_tiles,
    .attention_scratch_bytes = tile_scratch_bytes,
    .query_rows = 128,
    .attention_numbers = Numbers::kBFloat16,
    .numbers = numbers,
    .peaks = {float_peak, int8_peak, bfloat_peak},
};

}  // namespace runnel::kernels
