// The portable kernels, where products of bytes are numbers of 16 bits.
#include "kernels/vectors/xmm.inl"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

// Of weights less kOff.
template <short kOff>
inline Pairs multiply_less(byte_vector weights, std::int32_t quad) {
  const auto x = (Pairs)(native_int{} + quad);
  const Pairs even = (Pairs)(weights & 255) - kOff;
  const Pairs odd = (Pairs)(weights >> 8) - kOff;
  return even * (x << 8 >> 8) + odd * (x >> 8);
}
inline Pairs multiply_pairs(byte_vector weights, std::int32_t quad) {
  return multiply_less<0>(weights, quad);
}
inline Pairs multiply_bytes(byte_vector weights, std::int32_t quad) {
  return multiply_less<128>(weights, quad);
}
inline Pairs splat_pair(const std::int16_t* p) {
  std::int32_t both;
  __builtin_memcpy(&both, p, sizeof(both));
  return (Pairs)(native_int{} + both);
}
inline void in_register(Pairs& /*pairs*/) {}
template <bool>
using PanelQuad = Bytes;
template <typename Vec>
using SubScale = Vec;
// clang-format off
#include "kernels/products/pair_sums.inl"
// clang-format on

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
