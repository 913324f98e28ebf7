// Vectors of 4 floats, which every compiler target has or imitates.
#include <cstdint>
#include <utility>
#ifdef __aarch64__
#include <arm_neon.h>
#endif

#include "kernels/pack/blocks.h"
#include "kernels/tables/parts.h"

namespace runnel::kernels::RUNNEL_TABLE {
namespace {

#include "kernels/vectors/repeat.inl"

constexpr int kLanes = 4;
constexpr int kRowBlock = 2;
constexpr int kTokenBlock = 2;
constexpr int kTokensTogether = 2;
constexpr int kPackedTokens = 4;
typedef float native __attribute__((vector_size(16)));
typedef std::int32_t native_int __attribute__((vector_size(16)));
typedef std::uint16_t byte_vector __attribute__((vector_size(16)));
constexpr int kByteParts = 4;
typedef std::int16_t Pairs __attribute__((vector_size(16)));

// 64 weights, the quads of 16 rows, and their 16 integer sums.
struct Bytes {
  byte_vector part[kByteParts];
};
struct Sums {
  native_int part[kTile / kLanes];
};

#ifdef __aarch64__
#include "kernels/vectors/portable_neon.inl"
#else
#include "kernels/vectors/portable_plain.inl"
#endif

inline Bytes look_up(Bytes codes) {
  std::uint8_t bytes[64];
  __builtin_memcpy(bytes, &codes, sizeof(bytes));
  for (std::uint8_t& byte : bytes) byte = kE2M1[byte];
  __builtin_memcpy(&codes, bytes, sizeof(bytes));
  return codes;
}

#include "kernels/vectors/exp.inl"

}  // namespace
}  // namespace runnel::kernels::RUNNEL_TABLE
