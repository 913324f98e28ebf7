// A table of int8 and float products.
#include RUNNEL_VECTORS

#include "kernels/pack/dequantize.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

#define RUNNEL_TEXT(name) #name
#define RUNNEL_NAME(name) RUNNEL_TEXT(name)
constexpr const char* kName = RUNNEL_NAME(RUNNEL_TABLE);
constexpr int kQueryRows = 48;
constexpr Numbers kAttentionNumbers = Numbers::kFloat;

// Each file builds on those before it.
// clang-format off
#include "kernels/vectors/vector.inl"
#include "kernels/products/dot.inl"
#include "kernels/products/matmul.inl"
#include "kernels/elementwise/limits.inl"
#include "kernels/products/quad_sums.inl"
#include "kernels/products/packed_inputs.inl"
#include "kernels/products/int8_fields.inl"
#include "kernels/elementwise/elementwise.inl"
// clang-format on

}  // namespace

const Table kTable = {
#include "kernels/tables/fields.inl"
};

}  // namespace runnel::kernels::RUNNEL_TABLE
