// All kernels, written once over a vector of 16 floats. Each instruction set's file defines the
// machine's own vector, a few conversions and the integer dot product, includes this file inside an
// unnamed namespace, and exports a table.
// Each file builds on those before it.
// clang-format off
#include "kernels/vector.inl"
#include "kernels/dot.inl"
#include "kernels/matmul.inl"
#include "kernels/planes.inl"
#include "kernels/limits.inl"
#include "kernels/quad_sums.inl"
#include "kernels/packed.inl"
#include "kernels/int8_products.inl"
#include "kernels/attention.inl"
#include "kernels/elementwise.inl"
// clang-format on

#undef RUNNEL_EACH_CHAIN
#undef RUNNEL_EACH_PART
#undef RUNNEL_EACH_BYTE_PART
#undef RUNNEL_INLINE
#undef RUNNEL_MEMBER
