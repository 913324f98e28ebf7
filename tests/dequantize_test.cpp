// Block formats against their descriptions: each test below puts a block together bit by bit from
// chosen codes and computes the weights from those codes alone.
#include "kernels/pack/dequantize.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "support/parameters.h"
#include "support/sample_gguf.h"

namespace runnel::kernels {
namespace {

using Codes = std::vector<int>;

constexpr std::uint16_t kHalf = 0x3800;     // 0.5
constexpr std::uint16_t kQuarter = 0x3400;  // 0.25

std::vector<float> dequantized(TensorType type, const std::vector<std::byte>& data) {
  const std::size_t n = data.size() / traits(type).block_bytes *
                        static_cast<std::size_t>(traits(type).block_elements);
  std::vector<float> out(n);
  dequantize_row(type, data.data(), out.data(), static_cast<std::int64_t>(n));
  return out;
}

std::vector<std::byte> quantized(TensorType type, const std::vector<float>& in) {
  std::vector<std::byte> out(bytes_of(type, static_cast<std::int64_t>(in.size())));
  quantize_row(type, in.data(), out.data(), static_cast<std::int64_t>(in.size()));
  return out;
}

// Codes from 0 to n_codes - 1 in no regular order, the same in every run.
Codes scattered(int n, int n_codes) {
  Codes codes(static_cast<std::size_t>(n));
  std::uint32_t state = 12345;
  for (int& code : codes) {
    state = state * 1664525u + 1013904223u;
    code = static_cast<int>((state >> 16) % static_cast<std::uint32_t>(n_codes));
  }
  return codes;
}

// A block as a string of bits: bit i is bit i % 8 of byte i / 8.
class Bits {
 public:
  explicit Bits(TensorType type) : bytes_(traits(type).block_bytes) {}

  void put(std::size_t byte, int shift, int width, int value) {
    for (int i = 0; i < width; ++i) {
      if (((value >> i) & 1) != 0) bytes_[byte] |= static_cast<std::byte>(1 << (shift + i));
    }
  }
  void put_u16(std::size_t byte, std::uint16_t value) {
    put(byte, 0, 8, value & 255);
    put(byte + 1, 0, 8, value >> 8);
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

void expect_weights(TensorType type, const Bits& block, const std::function<float(int)>& weight) {
  const std::vector<float> out = dequantized(type, block.bytes());
  for (int i = 0; i < static_cast<int>(out.size()); ++i) {
    EXPECT_EQ(out[static_cast<std::size_t>(i)], weight(i)) << traits(type).name << " weight " << i;
  }
}

// Four bits of weight i of 32: the low halves first, then the high halves.
void put_nibble(Bits& block, std::size_t begin, int i, int q) {
  block.put(begin + static_cast<std::size_t>(i % 16), i < 16 ? 0 : 4, 4, q & 15);
}

TEST(Dequantize, F32IsItself) {
  const std::vector<float> in = {0.0f, -1.5f, 3e38f};
  std::vector<std::byte> data(12);
  std::memcpy(data.data(), in.data(), 12);
  EXPECT_EQ(dequantized(TensorType::kF32, data), in);
}

TEST(Dequantize, HalvesOfBothKinds) {
  Bits half(TensorType::kF16);
  half.put_u16(0, 0xc500);  // -(1 + 256 / 1024) * 2^2
  expect_weights(TensorType::kF16, half, [](int) { return -5.0f; });
  Bits brain(TensorType::kBF16);
  brain.put_u16(0, 0x40a0);  // (1 + 32 / 128) * 2^2
  expect_weights(TensorType::kBF16, brain, [](int) { return 5.0f; });
}

TEST(Dequantize, Q4_0IsScaleTimesCodeLessEight) {
  const Codes q = scattered(32, 16);
  Bits block(TensorType::kQ4_0);
  block.put_u16(0, kHalf);
  for (int i = 0; i < 32; ++i) put_nibble(block, 2, i, q[i]);
  expect_weights(TensorType::kQ4_0, block, [&](int i) { return 0.5f * (q[i] - 8); });
}

TEST(Dequantize, Q4_1IsScaleTimesCodePlusMinimum) {
  const Codes q = scattered(32, 16);
  Bits block(TensorType::kQ4_1);
  block.put_u16(0, kHalf);
  block.put_u16(2, 0xc500);  // -5
  for (int i = 0; i < 32; ++i) put_nibble(block, 4, i, q[i]);
  expect_weights(TensorType::kQ4_1, block, [&](int i) { return 0.5f * q[i] - 5.0f; });
}

TEST(Dequantize, Q5_0HasItsFifthBitsApart) {
  const Codes q = scattered(32, 32);
  Bits block(TensorType::kQ5_0);
  block.put_u16(0, kHalf);
  for (int i = 0; i < 32; ++i) {
    block.put(2 + i / 8, i % 8, 1, q[i] >> 4);
    put_nibble(block, 6, i, q[i]);
  }
  expect_weights(TensorType::kQ5_0, block, [&](int i) { return 0.5f * (q[i] - 16); });
}

TEST(Dequantize, Q5_1HasItsFifthBitsApart) {
  const Codes q = scattered(32, 32);
  Bits block(TensorType::kQ5_1);
  block.put_u16(0, kHalf);
  block.put_u16(2, 0xc500);
  for (int i = 0; i < 32; ++i) {
    block.put(4 + i / 8, i % 8, 1, q[i] >> 4);
    put_nibble(block, 8, i, q[i]);
  }
  expect_weights(TensorType::kQ5_1, block, [&](int i) { return 0.5f * q[i] - 5.0f; });
}

TEST(Dequantize, Q8_0IsScaleTimesSignedByte) {
  const Codes q = scattered(32, 256);
  Bits block(TensorType::kQ8_0);
  block.put_u16(0, kQuarter);
  for (int i = 0; i < 32; ++i) block.put(2 + i, 0, 8, q[i]);
  expect_weights(TensorType::kQ8_0, block,
                 [&](int i) { return 0.25f * (q[i] < 128 ? q[i] : q[i] - 256); });
}

TEST(Dequantize, Mxfp4IsAPowerOfTwoTimesASmallFloat) {
  const std::array<float, 8> values = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  for (const int exponent : {0, 1, 2, 100, 127, 128, 250}) {
    const Codes q = scattered(32, 16);
    Bits block(TensorType::kMXFP4);
    block.put(0, 0, 8, exponent);
    for (int i = 0; i < 32; ++i) put_nibble(block, 1, i, q[i]);
    expect_weights(TensorType::kMXFP4, block, [&](int i) {
      return std::ldexp(q[i] < 8 ? values[q[i]] : -values[q[i] - 8], exponent - 127);
    });
  }
}

// Two bits of weight i of 256, four to a byte, 32 weights apart, in halves of 128.
void put_pair(Bits& block, std::size_t begin, int i, int q) {
  const int half = i / 128;
  block.put(begin + static_cast<std::size_t>(32 * half + i % 32), 2 * ((i - 128 * half) / 32), 2,
            q & 3);
}

TEST(Dequantize, Q2_KHasScalesAndMinimumsOfSixteenWeights) {
  const Codes q = scattered(256, 4);
  const Codes scale = scattered(16, 16);
  Bits block(TensorType::kQ2_K);
  for (int j = 0; j < 16; ++j) {
    block.put(j, 0, 4, scale[j]);
    block.put(j, 4, 4, 15 - scale[j]);
  }
  for (int i = 0; i < 256; ++i) put_pair(block, 16, i, q[i]);
  block.put_u16(80, kHalf);
  block.put_u16(82, kQuarter);
  expect_weights(TensorType::kQ2_K, block,
                 [&](int i) { return 0.5f * scale[i / 16] * q[i] - 0.25f * (15 - scale[i / 16]); });
}

TEST(Dequantize, Q3_KHasSignedScalesOfSixBits) {
  const Codes q = scattered(256, 8);
  const Codes scale = scattered(16, 64);
  Bits block(TensorType::kQ3_K);
  for (int i = 0; i < 256; ++i) {
    block.put(i % 32, i / 32, 1, q[i] >> 2);
    put_pair(block, 32, i, q[i]);
  }
  // Byte k of the first eight holds the low bits of scales k and k + 8; byte 8 + k the high bits of
  // scales k, k + 4, k + 8 and k + 12.
  for (int k = 0; k < 8; ++k) block.put(96 + k, 0, 4, scale[k] & 15);
  for (int k = 0; k < 8; ++k) block.put(96 + k, 4, 4, scale[k + 8] & 15);
  for (int k = 0; k < 4; ++k) {
    for (int group = 0; group < 4; ++group) {
      block.put(104 + k, 2 * group, 2, scale[k + 4 * group] >> 4);
    }
  }
  block.put_u16(108, kQuarter);
  expect_weights(TensorType::kQ3_K, block,
                 [&](int i) { return 0.25f * (scale[i / 16] - 32) * (q[i] - 4); });
}

// Letters of the twelve bytes, scales A to H and minimums a to h: EEAAAAAA (4 bytes), eeaaaaaa (4),
// eeeeEEEE (4).
void put_scales_of_six_bits(Bits& block, const Codes& scale, const Codes& minimum) {
  for (int k = 0; k < 4; ++k) {
    block.put(4 + k, 0, 6, scale[k]);
    block.put(4 + k, 6, 2, scale[k + 4] >> 4);
    block.put(8 + k, 0, 6, minimum[k]);
    block.put(8 + k, 6, 2, minimum[k + 4] >> 4);
    block.put(12 + k, 0, 4, scale[k + 4] & 15);
    block.put(12 + k, 4, 4, minimum[k + 4] & 15);
  }
}

// Four bits of weight i of 256: 64 weights to 32 bytes, the low halves first.
void put_nibble_of_64(Bits& block, std::size_t begin, int i, int q) {
  block.put(begin + static_cast<std::size_t>(32 * (i / 64) + i % 32), i % 64 < 32 ? 0 : 4, 4,
            q & 15);
}

TEST(Dequantize, Q4_KHasScalesAndMinimumsOfSixBits) {
  const Codes q = scattered(256, 16);
  const Codes codes = scattered(16, 64);
  const Codes scale(codes.begin(), codes.begin() + 8);
  const Codes minimum(codes.begin() + 8, codes.end());
  Bits block(TensorType::kQ4_K);
  block.put_u16(0, kHalf);
  block.put_u16(2, kQuarter);
  put_scales_of_six_bits(block, scale, minimum);
  for (int i = 0; i < 256; ++i) put_nibble_of_64(block, 16, i, q[i]);
  expect_weights(TensorType::kQ4_K, block,
                 [&](int i) { return 0.5f * scale[i / 32] * q[i] - 0.25f * minimum[i / 32]; });
}

TEST(Dequantize, Q5_KHasItsFifthBitsApart) {
  const Codes q = scattered(256, 32);
  const Codes codes = scattered(16, 64);
  const Codes scale(codes.begin(), codes.begin() + 8);
  const Codes minimum(codes.begin() + 8, codes.end());
  Bits block(TensorType::kQ5_K);
  block.put_u16(0, kHalf);
  block.put_u16(2, kQuarter);
  put_scales_of_six_bits(block, scale, minimum);
  for (int i = 0; i < 256; ++i) {
    block.put(16 + i % 32, i / 32, 1, q[i] >> 4);
    put_nibble_of_64(block, 48, i, q[i]);
  }
  expect_weights(TensorType::kQ5_K, block,
                 [&](int i) { return 0.5f * scale[i / 32] * q[i] - 0.25f * minimum[i / 32]; });
}

TEST(Dequantize, Q6_KHasSignedScalesOfEightBits) {
  const Codes q = scattered(256, 64);
  const Codes scale = scattered(16, 256);
  Bits block(TensorType::kQ6_K);
  for (int i = 0; i < 256; ++i) {
    block.put(64 * (i / 128) + i % 64, i % 128 < 64 ? 0 : 4, 4, q[i] & 15);
    put_pair(block, 128, i, q[i] >> 4);
  }
  for (int j = 0; j < 16; ++j) block.put(192 + j, 0, 8, scale[j]);
  block.put_u16(208, kQuarter);
  expect_weights(TensorType::kQ6_K, block, [&](int i) {
    const int s = scale[i / 16];
    return 0.25f * (s < 128 ? s : s - 256) * (q[i] - 32);
  });
}

TEST(Dequantize, ARowOfSeveralBlocksIsItsBlocksInTurn) {
  for (const TensorType type : test::all_tensor_types()) {
    std::vector<std::byte> row(3 * traits(type).block_bytes);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<std::byte>(i * 37 % 120);
    std::vector<float> joined;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto begin = row.begin() + static_cast<std::ptrdiff_t>(i * traits(type).block_bytes);
      const auto end = begin + static_cast<std::ptrdiff_t>(traits(type).block_bytes);
      const std::vector<float> block = dequantized(type, {begin, end});
      joined.insert(joined.end(), block.begin(), block.end());
    }
    EXPECT_EQ(dequantized(type, row), joined) << traits(type).name;
  }
}

struct FormatError {
  TensorType type;
  double bound;  // root mean square error over root mean square weight, gaussian weights
};
void PrintTo(const FormatError& e, std::ostream* out) { *out << traits(e.type).name; }

class QuantizeGaussian : public ::testing::TestWithParam<FormatError> {};

std::vector<float> gaussian(std::size_t n) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> weights(n);
  for (float& w : weights) w = normal(random);
  return weights;
}

TEST_P(QuantizeGaussian, LosesNoMoreThanTheFormatMust) {
  const auto [type, bound] = GetParam();
  const std::vector<float> weights = gaussian(256 * 64);
  const std::vector<float> back = dequantized(type, quantized(type, weights));
  double error = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    error += std::pow(weights[i] - back[i], 2.0);
    norm += std::pow(weights[i], 2.0);
  }
  EXPECT_LE(std::sqrt(error / norm), bound);
}

INSTANTIATE_TEST_SUITE_P(
    Formats, QuantizeGaussian,
    ::testing::Values(FormatError{TensorType::kF32, 0.0}, FormatError{TensorType::kF16, 3e-4},
                      FormatError{TensorType::kBF16, 2e-3}, FormatError{TensorType::kQ8_0, 6e-3},
                      FormatError{TensorType::kQ5_1, 0.040}, FormatError{TensorType::kQ5_0, 0.045},
                      FormatError{TensorType::kQ4_1, 0.082}, FormatError{TensorType::kQ4_0, 0.090},
                      FormatError{TensorType::kMXFP4, 0.120}, FormatError{TensorType::kQ6_K, 0.019},
                      FormatError{TensorType::kQ5_K, 0.038}, FormatError{TensorType::kQ4_K, 0.075},
                      FormatError{TensorType::kQ3_K, 0.150}, FormatError{TensorType::kQ2_K, 0.280}),
    test::ByParameter());

class Quantize : public ::testing::TestWithParam<TensorType> {};

TEST_P(Quantize, ZerosStayZeros) {
  const std::vector<float> zeros(512, 0.0f);
  EXPECT_EQ(dequantized(GetParam(), quantized(GetParam(), zeros)), zeros);
}

TEST_P(Quantize, WeightsOfOneValueStayNearIt) {
  for (const float value : {1.0f, -0.75f}) {
    const std::vector<float> same(256, value);
    for (const float w : dequantized(GetParam(), quantized(GetParam(), same))) {
      EXPECT_NEAR(w, value, 0.26f * std::abs(value));
    }
  }
}

TEST_P(Quantize, TinyWeightsDoNotGrow) {
  const std::vector<float> tiny(256, 1e-30f);
  for (const float w : dequantized(GetParam(), quantized(GetParam(), tiny))) {
    EXPECT_LE(std::abs(w), 2e-30f);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryType, Quantize, ::testing::ValuesIn(test::all_tensor_types()),
                         test::ByParameter());

// Weights that a block of the format can hold exactly, with its extreme codes in use, come back as
// they were.
void expect_exact(TensorType type, const std::function<float(int)>& weight) {
  std::vector<float> weights(256);
  for (int i = 0; i < 256; ++i) weights[static_cast<std::size_t>(i)] = weight(i);
  EXPECT_EQ(dequantized(type, quantized(type, weights)), weights) << traits(type).name;
}

TEST(QuantizeExactly, WhatTheFormatCanHold) {
  expect_exact(TensorType::kQ8_0, [](int i) { return 0.25f * (i % 32 == 0 ? -127 : i % 120); });
  expect_exact(TensorType::kQ4_0, [](int i) { return 0.25f * (i % 16 - 8); });
  expect_exact(TensorType::kQ5_0, [](int i) { return 0.25f * (i % 32 - 16); });
  expect_exact(TensorType::kQ4_1, [](int i) { return 0.25f * (i % 16) + 3.0f; });
  expect_exact(TensorType::kQ5_1, [](int i) { return 0.25f * (i % 32) - 3.0f; });
  expect_exact(TensorType::kMXFP4, [](int i) {
    return std::array<float, 8>{0.0f, 0.5f, 1.0f, 1.5f, -2.0f, -3.0f, 4.0f, 6.0f}[i % 8] * 0.125f;
  });
}

TEST(QuantizeExactly, WhatTheKTypesCanHold) {
  // Sub-blocks use every level; some sub-block has the largest scale (and minimum) the format
  // counts.
  const auto code = [](int i, int n) { return (i * 5 + i / 16) % n; };
  expect_exact(TensorType::kQ2_K, [&](int i) {
    const int j = i / 16;
    return 0.5f * (15 - j) * code(i, 4) - (j < 14 ? 0.25f * (15 - j) : 0.0f);
  });
  expect_exact(TensorType::kQ3_K, [&](int i) {
    const int j = i / 16;
    return 0.25f * (j - 32) * (code(i, 8) - 4);
  });
  expect_exact(TensorType::kQ4_K, [&](int i) {
    const int j = i / 32;
    return 0.5f * (63 - j) * code(i, 16) - 0.25f * (63 - 2 * j);
  });
  expect_exact(TensorType::kQ5_K, [&](int i) {
    const int j = i / 32;
    return 0.5f * (63 - j) * (i % 32) - 0.25f * (63 - 2 * j);
  });
  expect_exact(TensorType::kQ6_K, [](int i) {
    const int j = i / 16;
    return 0.25f * (j - 128) * (i % 16 == 0 ? -32 : (i * 7) % 64 - 32);
  });
}

}  // namespace
}  // namespace runnel::kernels
