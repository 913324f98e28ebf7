// The portable kernels: vectors of 4 floats, which every compiler target has or imitates.
#include <cstdint>

#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace runnel::kernels {
namespace {

constexpr const char* kName = "portable";
constexpr int kLanes = 4;
constexpr int kRowBlock = 2;
constexpr int kTokenBlock = 2;
typedef float native __attribute__((vector_size(16)));
typedef std::int32_t native_int __attribute__((vector_size(16)));

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

#include "kernels/generic.inl"

}  // namespace

const Table kPortable = {
#include "kernels/table_rows.inl"
};
}  // namespace runnel::kernels
