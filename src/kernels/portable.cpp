// The portable kernels: vectors of 4 floats, which every compiler target has or imitates.
#include <cstdint>
#include <utility>

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

// 64 weights, the quads of 16 rows, and their 16 integer sums.
struct Bytes {
  byte_vector part[kByteParts];
};
struct Sums {
  native_int part[kTile / kLanes];
};

inline float half_value(std::uint16_t h) {
  const std::uint32_t shifted = static_cast<std::uint32_t>(h & 0x7fffu) << 13;
  float magnitude;
  __builtin_memcpy(&magnitude, &shifted, 4);
  magnitude *= 0x1p112f;  // moves the exponent's bias; right for subnormals too
  if ((h & 0x7c00u) == 0x7c00u) {
    const std::uint32_t special = shifted | 0x7f800000u;
    __builtin_memcpy(&magnitude, &special, 4);
  }
  return (h & 0x8000u) != 0 ? -magnitude : magnitude;
}
inline native load_half(const std::uint16_t* p) {
  return native{half_value(p[0]), half_value(p[1]), half_value(p[2]), half_value(p[3])};
}
inline native load_bfloat(const std::uint16_t* p) {
  return (native)native_int{p[0] << 16, p[1] << 16, p[2] << 16, p[3] << 16};
}
inline native load_int8(const std::int8_t* p) {
  return native{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                static_cast<float>(p[3])};
}

template <bool kFull>
inline Sums dot_quads(Sums sums, const Bytes& weights, std::int32_t quad) {
  typedef std::int32_t lanes __attribute__((vector_size(16)));
  const lanes x0 = lanes{} + static_cast<std::int8_t>(quad);
  const lanes x1 = lanes{} + static_cast<std::int8_t>(quad >> 8);
  const lanes x2 = lanes{} + static_cast<std::int8_t>(quad >> 16);
  const lanes x3 = lanes{} + (quad >> 24);
  for (int i = 0; i < kByteParts; ++i) {
    const auto w = (lanes)weights.part[i];
    sums.part[i] +=
        (w & 255) * x0 + ((w >> 8) & 255) * x1 + ((w >> 16) & 255) * x2 + ((w >> 24) & 255) * x3;
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

#include "kernels/generic.inl"

}  // namespace

const Table kPortable = {
#include "kernels/table_rows.inl"
};
}  // namespace runnel::kernels
