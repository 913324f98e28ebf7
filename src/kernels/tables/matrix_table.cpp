// A table of products by the matrix unit.
#include RUNNEL_VECTORS

#include "kernels/pack/dequantize.h"
#include "kernels/pack/spans.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

#define RUNNEL_TEXT(name) #name
#define RUNNEL_NAME(name) RUNNEL_TEXT(name)
constexpr const char* kName = RUNNEL_NAME(RUNNEL_TABLE);
constexpr int kQueryRows = 128;
constexpr Numbers kAttentionNumbers = Numbers::kBFloat16;

// Each file builds on those before it.
// clang-format off
#include "kernels/vectors/vector.inl"
#include "kernels/products/dot.inl"
#include "kernels/products/matmul.inl"
#include "kernels/elementwise/limits.inl"
#include "kernels/products/tiles.inl"
#include "kernels/products/amx_tiles.inl"
#include "kernels/products/matrix_peaks.inl"
#include "kernels/products/quad_sums.inl"
#include "kernels/products/span_inputs.inl"
#include "kernels/products/slabs.inl"
#include "kernels/products/half_products.inl"
#include "kernels/products/bfloat_fields.inl"
#include "kernels/elementwise/elementwise.inl"
// clang-format on

}  // namespace

const Table kTable = {
#include "kernels/tables/fields.inl"
};

}  // namespace runnel::kernels::RUNNEL_TABLE
