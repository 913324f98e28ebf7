#include "kernels/attention/kv_codes.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "kernels/kernels.h"

namespace runnel::kernels {
namespace {

float scale_of(int bits) { return f16_to_f32(static_cast<std::uint16_t>(bits << 8)) * 0x1p-7f; }

// The square error of x where each number becomes the nearest one that a code can say.
float square_error(const float* x, float scale) {
  float nearest[kKvBlock];
  const float inverse = 1 / scale;
  for (float& number : nearest) number = kKvCodes[0];
  for (int code = 1; code < 16; ++code) {
    const float middle = static_cast<float>(kKvCodes[code - 1] + kKvCodes[code]) / 2;
    const auto step = static_cast<float>(kKvCodes[code] - kKvCodes[code - 1]);
    for (int i = 0; i < kKvBlock; ++i) nearest[i] += x[i] * inverse > middle ? step : 0.0f;
  }
  float squares[4] = {};
  for (int i = 0; i < kKvBlock; i += 4) {
    for (int j = 0; j < 4; ++j) {
      const float error = x[i + j] - scale * nearest[i + j];
      squares[j] += error * error;
    }
  }
  return (squares[0] + squares[1]) + (squares[2] + squares[3]);
}

void write_codes(const float* x, int n, float scale, std::uint8_t* codes) {
  const float inverse = 1 / scale;
  for (int i = 0; i < n; ++i) {
    int code = 0;
    for (int next = 1; next < 16; ++next)
      code += x[i] * inverse > static_cast<float>(kKvCodes[next - 1] + kKvCodes[next]) / 2 ? 1 : 0;
    codes[i] = static_cast<std::uint8_t>(code);
  }
}

}  // namespace

std::uint8_t quantize_codes(const float* x, int n, std::uint8_t* codes) {
  constexpr int kLargest = 0x7b;  // the largest finite scale
  constexpr int kNegative = 0x80;
  float block[kKvBlock] = {};
  std::copy_n(x, n, block);
  float largest = 0;
  for (const float number : block) largest = std::max(largest, std::fabs(number));
  // Scales are a quarter to a seventh apart; the best one lies from 0.8 of the largest number on.
  const int first = f32_to_f16(largest * 0.8f) >> 8;
  int best = 0;
  float least = INFINITY;
  for (int bits = std::min(first, kLargest); bits <= std::min(first + 4, kLargest); ++bits) {
    if (bits == 0 || largest == 0) continue;
    for (const float sign : {1.0f, -1.0f}) {
      const float error = square_error(block, sign * scale_of(bits));
      if (!(error < least)) continue;
      least = error;
      best = sign < 0 ? bits | kNegative : bits;
    }
  }
  if (best == 0) {  // nothing but zeros, or no numbers
    std::fill_n(codes, n, std::uint8_t{0});
    return std::isfinite(largest) ? 0 : 0x7e;
  }
  write_codes(block, n, scale_of(best), codes);
  return static_cast<std::uint8_t>(best);
}

}  // namespace runnel::kernels
