// Products of K types, made spans, by the matrix unit.
#include RUNNEL_VECTORS

#include "kernels/pack/spans.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

// Each file builds on those before it.
// clang-format off
#include "kernels/vectors/vector.inl"
#include "kernels/products/planes.inl"
#include "kernels/products/tiles.inl"
#include "kernels/products/amx_tiles.inl"
#include "kernels/products/quad_sums.inl"
#include "kernels/products/spans.inl"
#include "kernels/products/slabs.inl"
#include "kernels/products/span_digits.inl"
#include "kernels/products/few_span_tiles.inl"
#include "kernels/products/span_tiles.inl"
// clang-format on

}  // namespace

void multiply_k_blocks(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                       std::byte* scratch) {
  with_k_format(m.w.type,
                [&]<PackedFormat F>() { span_products<F>(m, first_row, last_row, scratch); });
}

}  // namespace runnel::kernels::RUNNEL_TABLE
