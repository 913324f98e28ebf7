// 64-bit ARM with dot products of four bytes (dotprod); where the machine multiplies blocks of them
// too (i8mm), those.
#include "kernels/vectors/xmm.inl"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

#ifdef __ARM_FEATURE_MATMUL_INT8
#include "kernels/products/block_sums.inl"
#else
#include "kernels/products/dot_sums.inl"
#endif

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
