// Attention in floats.
#include RUNNEL_VECTORS

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

// Each file builds on those before it.
// clang-format off
#include "kernels/vectors/vector.inl"
#include "kernels/products/dot.inl"
#include "kernels/attention/cache_tiles.inl"
#include "kernels/attention/softmax.inl"
#include "kernels/attention/attention.inl"
// clang-format on

}  // namespace

void attend(const Attention& task, const QueryRow* rows, int n_rows, std::byte* scratch) {
  attend_in_floats(task, rows, n_rows, scratch);
}
std::size_t attention_scratch_bytes(int head_dim) { return float_scratch_bytes(head_dim); }

}  // namespace runnel::kernels::RUNNEL_TABLE
