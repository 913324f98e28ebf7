// Eight bytes that are changed together, in one 64-bit number: byte i is bits 8 * i to 8 * i + 7.
#pragma once

#include <cstdint>
#include <cstring>

namespace runnel::kernels {

using EightBytes = std::uint64_t;

constexpr EightBytes eight_of(unsigned byte) { return byte * EightBytes{0x0101010101010101}; }
inline EightBytes load_eight(const std::uint8_t* p) {
  EightBytes bytes;
  std::memcpy(&bytes, p, sizeof(bytes));
  return bytes;
}
inline void store_eight(std::uint8_t* p, EightBytes bytes) {
  std::memcpy(p, &bytes, sizeof(bytes));
}

// Bit i of `bits` as byte i, 0 or 1.
constexpr EightBytes bits_to_bytes(unsigned bits) {
  const EightBytes apart = eight_of(bits) & EightBytes{0x8040201008040201};
  return ((apart + eight_of(127)) >> 7) & eight_of(1);
}

}  // namespace runnel::kernels
