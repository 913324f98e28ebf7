// The codes of 4 bits and the rotation before them.
#include "kernels/attention/kv_codes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/half.h"
#include "kernels/attention/hadamard.h"
#include "kernels/kernels.h"
#include "support/numbers.h"

namespace runnel::kernels {
namespace {

float decoded(std::uint8_t code, std::uint8_t scale) {
  return static_cast<float>(kKvCodes[code]) / 128 *
         f16_to_f32(static_cast<std::uint16_t>(scale << 8));
}

double square_error(const std::vector<float>& x) {
  double sum = 0;
  for (std::size_t at = 0; at < x.size(); at += kKvBlock) {
    std::uint8_t codes[kKvBlock];
    const std::uint8_t scale = quantize_codes(&x[at], kKvBlock, codes);
    for (std::size_t i = 0; i < kKvBlock; ++i) {
      EXPECT_LT(codes[i], 16);
      const double error = static_cast<double>(x[at + i] - decoded(codes[i], scale));
      sum += error * error;
    }
  }
  return sum / static_cast<double>(x.size());
}

// Q4_0 of weights, blocks of 32 with the largest number at -8, is off by 0.74 %.
TEST(KvCodes, AreOffByHalfAPercentOfTheEnergyOfABellCurve) {
  const double error = square_error(test::gaussian(16 * 4000, 1));
  EXPECT_LT(error, 0.0051);
  EXPECT_GT(error, 0.0040);
}

TEST(KvCodes, FollowTheSizeOfTheNumbers) {
  for (const float size : {1e-3f, 1.0f, 300.0f, 20000.0f}) {
    std::vector<float> x = test::gaussian(16 * 200, 2);
    for (float& number : x) number *= size;
    EXPECT_LT(square_error(x), 0.006 * static_cast<double>(size) * static_cast<double>(size));
  }
}

TEST(KvCodes, SayNothingButZeroOfZeros) {
  const float zeros[kKvBlock] = {};
  std::uint8_t codes[kKvBlock];
  const std::uint8_t scale = quantize_codes(zeros, kKvBlock, codes);
  for (const std::uint8_t code : codes) EXPECT_EQ(decoded(code, scale), 0);
}

// Damage must not look like health.
TEST(KvCodes, KeepWhatIsNoNumberVisible) {
  float x[kKvBlock] = {1, 2, 3};
  x[5] = INFINITY;
  std::uint8_t codes[kKvBlock];
  const std::uint8_t scale = quantize_codes(x, kKvBlock, codes);
  EXPECT_FALSE(std::isfinite(decoded(codes[5], scale)));
}

TEST(Hadamard, IsItsOwnInverseAndKeepsProducts) {
  for (const int n : {1, 2, 16, 64, 80, 96, 33, 128}) {
    const auto size = static_cast<std::size_t>(n);
    const std::vector<float> a = test::gaussian(size, 3);
    const std::vector<float> b = test::gaussian(size, 4);
    std::vector<float> x = a;
    std::vector<float> y = b;
    hadamard(x.data(), n);
    hadamard(y.data(), n);
    double before = 0;
    double after = 0;
    for (std::size_t i = 0; i < size; ++i) {
      before += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      after += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    }
    EXPECT_NEAR(after, before, 1e-5 * n);
    hadamard(x.data(), n);
    for (std::size_t i = 0; i < size; ++i) EXPECT_NEAR(x[i], a[i], 1e-5);
  }
}

// 80 = 5 * 16: what one stretch of 16 holds stays in it.
TEST(Hadamard, SpreadsOverTheLargestPowerOfTwo) {
  std::vector<float> x(80);
  x[18] = 4;
  hadamard(x.data(), 80);
  for (std::size_t i = 0; i < 80; ++i) EXPECT_EQ(std::fabs(x[i]), i / 16 == 1 ? 1.0f : 0.0f) << i;
}

}  // namespace
}  // namespace runnel::kernels
