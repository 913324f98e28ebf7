// The portable kernels: vectors of 4 floats, which every compiler target has or imitates.
#include <cstdint>
#include <type_traits>
#include <utility>
#ifdef __aarch64__
#include <arm_neon.h>
#endif

#include "kernels/blocks.h"
#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

constexpr const char* kName = "portable";
constexpr int kLanes = 4;
constexpr int kRowBlock = 2;
constexpr int kTokenBlock = 2;
constexpr int kPackedTokens = 4;
typedef float native __attribute__((vector_size(16)));
typedef std::int32_t native_int __attribute__((vector_size(16)));
typedef std::uint16_t byte_vector __attribute__((vector_size(16)));
constexpr int kByteParts = 4;
typedef std::int16_t products __attribute__((vector_size(16)));

// 64 weights, the quads of 16 rows, and their 16 integer sums.
struct Bytes {
  byte_vector part[kByteParts];
};
struct Sums {
  native_int part[kTile / kLanes];
};

#ifdef __aarch64__
#include "kernels/portable_neon.inl"
#else
#include "kernels/portable_plain.inl"
#endif

// A product of two bytes fits 16 bits; so does the sum of two for weights below 128.
template <bool kFull>
inline Sums dot_quads(Sums sums, const Bytes& weights, const quad_word& quad) {
  const auto x = (products)(native_int{} + quad);
  for (int i = 0; i < kByteParts; ++i) {
    const products even = (products)(weights.part[i] & 255) * (x << 8 >> 8);
    const products odd = (products)(weights.part[i] >> 8) * (x >> 8);
    if constexpr (kFull) {
      sums.part[i] += add_pairs(even) + add_pairs(odd);
    } else {
      sums.part[i] += add_pairs(even + odd);
    }
  }
  return sums;
}

inline Bytes look_up(Bytes codes) {
  std::uint8_t bytes[64];
  __builtin_memcpy(bytes, &codes, sizeof(bytes));
  for (std::uint8_t& byte : bytes) byte = kE2M1[byte];
  __builtin_memcpy(&codes, bytes, sizeof(bytes));
  return codes;
}

// clang-format off
#include "kernels/exp.inl"
#include "kernels/generic.inl"
// clang-format on

}  // namespace

const Table kPortable = {
#include "kernels/table_rows.inl"
    .attend = attend,
    .attention_scratch_bytes = attention_scratch_bytes,
    .query_rows = 32,
    .attention_numbers = Numbers::kFloat,
    .numbers = numbers,
    .peaks = {float_peak, int8_peak, nullptr},
};
}  // namespace runnel::kernels
