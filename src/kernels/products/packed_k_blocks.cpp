// Products of K types, by byte dot products.
#include RUNNEL_VECTORS

#include "kernels/tables/asks_ahead.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

// Each file builds on those before it.
// clang-format off
#include "kernels/vectors/vector.inl"
#include "kernels/products/planes.inl"
#include "kernels/products/quad_sums.inl"
#include "kernels/products/packed.inl"
// clang-format on

}  // namespace

void multiply_k_blocks(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                       std::byte* scratch) {
  with_k_format(m.w.type,
                [&]<PackedFormat F>() { packed_rows<F>(m, first_row, last_row, scratch); });
}

}  // namespace runnel::kernels::RUNNEL_TABLE
