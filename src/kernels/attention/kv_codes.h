// Numbers of the cache as codes of 4 bits.
#pragma once

#include <cstdint>

namespace runnel::kernels {

// Codes of up to kKvBlock numbers, each a place in kKvCodes, and the 8 bits of their scale: the
// pair with the least square error among the scales near the largest number's, of both signs.
std::uint8_t quantize_codes(const float* x, int n, std::uint8_t* codes);

}  // namespace runnel::kernels
