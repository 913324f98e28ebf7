// Floats to blocks. The plain types take their scale from the largest weight; the K types search,
// for each sub-block, the scale (and minimum) that leaves the least squared error, then round those
// to their few bits and the weights to what was stored.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/half.h"
#include "kernels/pack/blocks.h"
#include "kernels/pack/dequantize.h"

namespace runnel::kernels {
namespace {

int nearest(float x, int lowest, int highest) {
  return static_cast<int>(
      std::lrint(std::clamp(x, static_cast<float>(lowest), static_cast<float>(highest))));
}

float inverse(float x) { return x != 0.0f ? 1.0f / x : 0.0f; }

// The weight of the largest magnitude, with its sign.
float largest(const float* x, int n) {
  return *std::max_element(x, x + n, [](float a, float b) { return std::abs(a) < std::abs(b); });
}

// Codes q of w = d * (q + lowest), where the largest weight takes the lowest level, and d as
// stored.
std::uint16_t quantize_signed(const float* x, int lowest, std::uint8_t* q) {
  const std::uint16_t d = f32_to_f16(largest(x, kSmallBlock) / static_cast<float>(lowest));
  const float inverse_d = inverse(f16_to_f32(d));
  for (int i = 0; i < kSmallBlock; ++i) {
    q[i] = static_cast<std::uint8_t>(nearest(x[i] * inverse_d, lowest, -lowest - 1) - lowest);
  }
  return d;
}

struct ScaleAndMinimum {
  std::uint16_t d;
  std::uint16_t m;
};

// Codes q of w = d * q + m from the smallest weight to the largest.
ScaleAndMinimum quantize_between(const float* x, int highest, std::uint8_t* q) {
  const auto [low, high] = std::minmax_element(x, x + kSmallBlock);
  const std::uint16_t d = f32_to_f16((*high - *low) / static_cast<float>(highest));
  const std::uint16_t m = f32_to_f16(*low);
  const float inverse_d = inverse(f16_to_f32(d));
  for (int i = 0; i < kSmallBlock; ++i) {
    q[i] = static_cast<std::uint8_t>(nearest((x[i] - f16_to_f32(m)) * inverse_d, 0, highest));
  }
  return {d, m};
}

void pack_nibbles(const std::uint8_t* q, std::uint8_t* qs) {
  for (int i = 0; i < 16; ++i) {
    qs[i] = static_cast<std::uint8_t>((q[i] & 15) | ((q[i + 16] & 15) << 4));
  }
}

void pack_fifth_bits(const std::uint8_t* q, std::uint8_t* qh) {
  std::uint32_t high = 0;
  for (int i = 0; i < kSmallBlock; ++i) high |= static_cast<std::uint32_t>(q[i] >> 4) << i;
  std::memcpy(qh, &high, sizeof high);
}

void quantize(const float* x, BlockQ4_0& b) {
  std::uint8_t q[kSmallBlock];
  b.d = quantize_signed(x, -8, q);
  pack_nibbles(q, b.qs);
}

void quantize(const float* x, BlockQ5_0& b) {
  std::uint8_t q[kSmallBlock];
  b.d = quantize_signed(x, -16, q);
  pack_nibbles(q, b.qs);
  pack_fifth_bits(q, b.qh);
}

void quantize(const float* x, BlockQ4_1& b) {
  std::uint8_t q[kSmallBlock];
  const auto [d, m] = quantize_between(x, 15, q);
  b.d = d;
  b.m = m;
  pack_nibbles(q, b.qs);
}

void quantize(const float* x, BlockQ5_1& b) {
  std::uint8_t q[kSmallBlock];
  const auto [d, m] = quantize_between(x, 31, q);
  b.d = d;
  b.m = m;
  pack_nibbles(q, b.qs);
  pack_fifth_bits(q, b.qh);
}

void quantize(const float* x, BlockQ8_0& b) {
  b.d = f32_to_f16(std::abs(largest(x, kSmallBlock)) / 127.0f);
  const float inverse_d = inverse(f16_to_f32(b.d));
  for (int i = 0; i < kSmallBlock; ++i) {
    b.qs[i] = static_cast<std::int8_t>(nearest(x[i] * inverse_d, -127, 127));
  }
}

// The code whose value is nearest to `twice`, which is twice the weight over the scale.
std::uint8_t nearest_e2m1(float twice) {
  std::uint8_t best = 0;
  for (std::uint8_t code = 1; code < 16; ++code) {
    const auto distance = [&](std::uint8_t c) { return std::abs(twice - kTwiceE2M1[c]); };
    if (distance(code) < distance(best)) best = code;
  }
  return best;
}

// The largest weight falls in [4, 8) times the scale: it takes the code of 4 or 6.
void quantize(const float* x, BlockMXFP4& b) {
  const float magnitude = std::abs(largest(x, kSmallBlock));
  const int exponent = magnitude > 0.0f ? std::ilogb(magnitude) - 2 : -127;
  b.e = static_cast<std::uint8_t>(std::clamp(exponent + 127, 0, 254));
  std::uint8_t q[kSmallBlock];
  for (int i = 0; i < kSmallBlock; ++i) q[i] = nearest_e2m1(std::ldexp(x[i], 128 - b.e));
  pack_nibbles(q, b.qs);
}

constexpr int kMaxSubBlocks = 16;
constexpr int kTries =
    10;  // candidate scales on each side of the plain one, a tenth of a level apart

// Of w = scale * q with q from `lowest` to -lowest - 1, the scale of least squared error.
float search_scale(const float* x, int n, int lowest) {
  const float extreme = largest(x, n);
  if (extreme == 0.0f) return 0.0f;
  float best_scale = 0.0f;
  double best_gain = -1.0;  // sum of x^2 less the squared error
  for (int i = -kTries; i <= kTries; ++i) {
    const float inverse_scale =
        (static_cast<float>(lowest) + 0.1f * static_cast<float>(i)) / extreme;
    double xq = 0.0;
    double qq = 0.0;
    for (int k = 0; k < n; ++k) {
      const double q = nearest(x[k] * inverse_scale, lowest, -lowest - 1);
      xq += x[k] * q;
      qq += q * q;
    }
    if (qq > 0.0 && xq * xq / qq > best_gain) {
      best_gain = xq * xq / qq;
      best_scale = static_cast<float>(xq / qq);
    }
  }
  return best_scale;
}

// A K block without minimums: w = d * scale[j] * q, sub-blocks of 16.
struct SignedCodes {
  std::uint16_t d;
  std::array<int, kMaxSubBlocks> scales;
  std::array<int, kSuperBlock> q;
};

SignedCodes quantize_signed_k(const float* x, int lowest_q, int lowest_scale) {
  SignedCodes codes{};
  std::array<float, kMaxSubBlocks> scales{};
  for (int j = 0; j < 16; ++j) scales[j] = search_scale(x + 16 * j, 16, lowest_q);
  codes.d = f32_to_f16(largest(scales.data(), 16) / static_cast<float>(lowest_scale));
  const float d = f16_to_f32(codes.d);
  for (int j = 0; j < 16; ++j) {
    codes.scales[j] = nearest(scales[j] * inverse(d), lowest_scale, -lowest_scale - 1);
    const float inverse_scale = inverse(d * static_cast<float>(codes.scales[j]));
    for (int i = 16 * j; i < 16 * (j + 1); ++i) {
      codes.q[i] = nearest(x[i] * inverse_scale, lowest_q, -lowest_q - 1);
    }
  }
  return codes;
}

struct ScaleAndOffset {
  float scale = 0.0f;
  float minimum = 0.0f;  // subtracted; never negative
};

// Sums of one choice of codes, and the straight line through (q, x) of least squared error.
struct LineFit {
  double n = 0.0, q = 0.0, x = 0.0, qq = 0.0, xq = 0.0;

  void add(double level, double weight) {
    n += 1.0;
    q += level;
    x += weight;
    qq += level * level;
    xq += level * weight;
  }
  ScaleAndOffset solve() const {
    const double determinant = n * qq - q * q;
    const double minimum = determinant > 0.0 ? (q * xq - qq * x) / determinant : -1.0;
    if (minimum >= 0.0) {
      return {static_cast<float>((n * xq - q * x) / determinant), static_cast<float>(minimum)};
    }
    // Through the origin: the line would lie above it, or all codes are the same.
    return {static_cast<float>(qq > 0.0 ? std::max(0.0, xq / qq) : 0.0), 0.0f};
  }
};

// Of w = scale * q - minimum with q from 0 to `highest`, the pair of least squared error.
ScaleAndOffset search_scale_and_minimum(const float* x, int n, int highest) {
  const auto [low_at, high_at] = std::minmax_element(x, x + n);
  const float low = std::min(0.0f, *low_at);
  if (*high_at <= low) return {0.0f, -low};
  ScaleAndOffset best;
  double best_error = HUGE_VAL;
  for (int i = -kTries; i <= kTries; ++i) {
    const float inverse_scale =
        (static_cast<float>(highest) + 0.1f * static_cast<float>(i)) / (*high_at - low);
    LineFit fit;
    for (int k = 0; k < n; ++k) fit.add(nearest((x[k] - low) * inverse_scale, 0, highest), x[k]);
    const ScaleAndOffset found = fit.solve();
    double error = 0.0;
    for (int k = 0; k < n; ++k) {
      const int q = nearest((x[k] + found.minimum) * inverse(found.scale), 0, highest);
      const double rest = x[k] - (static_cast<double>(found.scale) * q - found.minimum);
      error += rest * rest;
    }
    if (error < best_error) {
      best_error = error;
      best = found;
    }
  }
  return best;
}

// A K block with minimums: w = d * scale[j] * q - dmin * minimum[j].
struct UnsignedCodes {
  std::uint16_t d;
  std::uint16_t dmin;
  std::array<int, kMaxSubBlocks> scales;
  std::array<int, kMaxSubBlocks> minimums;
  std::array<int, kSuperBlock> q;
};

UnsignedCodes quantize_unsigned_k(const float* x, int sub_block, int highest_q, int highest_scale) {
  UnsignedCodes codes{};
  std::array<ScaleAndOffset, kMaxSubBlocks> found{};
  const int n_sub_blocks = kSuperBlock / sub_block;
  ScaleAndOffset most;
  for (int j = 0; j < n_sub_blocks; ++j) {
    found[j] = search_scale_and_minimum(x + sub_block * j, sub_block, highest_q);
    most.scale = std::max(most.scale, found[j].scale);
    most.minimum = std::max(most.minimum, found[j].minimum);
  }
  codes.d = f32_to_f16(most.scale / static_cast<float>(highest_scale));
  codes.dmin = f32_to_f16(most.minimum / static_cast<float>(highest_scale));
  const float d = f16_to_f32(codes.d);
  const float dmin = f16_to_f32(codes.dmin);
  for (int j = 0; j < n_sub_blocks; ++j) {
    codes.scales[j] = nearest(found[j].scale * inverse(d), 0, highest_scale);
    codes.minimums[j] = nearest(found[j].minimum * inverse(dmin), 0, highest_scale);
    const float inverse_scale = inverse(d * static_cast<float>(codes.scales[j]));
    const float minimum = dmin * static_cast<float>(codes.minimums[j]);
    for (int i = sub_block * j; i < sub_block * (j + 1); ++i) {
      codes.q[i] = nearest((x[i] + minimum) * inverse_scale, 0, highest_q);
    }
  }
  return codes;
}

// The places of blocks.h, written: or_bits adds bits to a byte that was zero.
void or_bits(std::uint8_t& byte, int bits, int shift) {
  byte = static_cast<std::uint8_t>(byte | (bits << shift));
}

void pack_scales_q3(const std::array<int, kMaxSubBlocks>& scales, std::uint8_t* out) {
  for (int j = 0; j < 16; ++j) {
    or_bits(out[j % 8], scales[j] & 15, 4 * (j / 8));
    or_bits(out[8 + j % 4], scales[j] >> 4, 2 * (j / 4));
  }
}

void pack_scales_q4(const UnsignedCodes& codes, std::uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    or_bits(out[j], codes.scales[j], 0);
    or_bits(out[j + 4], codes.minimums[j], 0);
    or_bits(out[j + 8], codes.scales[j + 4] & 15, 0);
    or_bits(out[j + 8], codes.minimums[j + 4] & 15, 4);
    or_bits(out[j], codes.scales[j + 4] >> 4, 6);
    or_bits(out[j + 4], codes.minimums[j + 4] >> 4, 6);
  }
}

void quantize(const float* x, BlockQ2_K& b) {
  const UnsignedCodes codes = quantize_unsigned_k(x, 16, 3, 15);
  b.d = codes.d;
  b.dmin = codes.dmin;
  for (int j = 0; j < 16; ++j) {
    or_bits(b.scales[j], codes.scales[j], 0);
    or_bits(b.scales[j], codes.minimums[j], 4);
  }
  for (int i = 0; i < kSuperBlock; ++i) {
    or_bits(b.qs[32 * (i / 128) + i % 32], codes.q[i], 2 * (i % 128 / 32));
  }
}

void quantize(const float* x, BlockQ3_K& b) {
  SignedCodes codes = quantize_signed_k(x, -4, -32);
  b.d = codes.d;
  for (int& scale : codes.scales) scale += 32;
  pack_scales_q3(codes.scales, b.scales);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int q = codes.q[i] + 4;
    or_bits(b.qs[32 * (i / 128) + i % 32], q & 3, 2 * (i % 128 / 32));
    or_bits(b.hmask[i % 32], q >> 2, i / 32);
  }
}

void quantize(const float* x, BlockQ4_K& b) {
  const UnsignedCodes codes = quantize_unsigned_k(x, 32, 15, 63);
  b.d = codes.d;
  b.dmin = codes.dmin;
  pack_scales_q4(codes, b.scales);
  for (int i = 0; i < kSuperBlock; ++i) {
    or_bits(b.qs[32 * (i / 64) + i % 32], codes.q[i], 4 * (i % 64 / 32));
  }
}

void quantize(const float* x, BlockQ5_K& b) {
  const UnsignedCodes codes = quantize_unsigned_k(x, 32, 31, 63);
  b.d = codes.d;
  b.dmin = codes.dmin;
  pack_scales_q4(codes, b.scales);
  for (int i = 0; i < kSuperBlock; ++i) {
    or_bits(b.qs[32 * (i / 64) + i % 32], codes.q[i] & 15, 4 * (i % 64 / 32));
    or_bits(b.qh[i % 32], codes.q[i] >> 4, i / 32);
  }
}

void quantize(const float* x, BlockQ6_K& b) {
  const SignedCodes codes = quantize_signed_k(x, -32, -128);
  b.d = codes.d;
  for (int j = 0; j < 16; ++j) b.scales[j] = static_cast<std::int8_t>(codes.scales[j]);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int q = codes.q[i] + 32;
    or_bits(b.ql[64 * (i / 128) + i % 64], q & 15, 4 * (i % 128 / 64));
    or_bits(b.qh[32 * (i / 128) + i % 32], q >> 4, 2 * (i % 128 / 32));
  }
}

template <typename Block, int kElements>
void quantize_blocks(const float* in, std::byte* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n / kElements; ++i) {
    Block block{};
    quantize(in + i * kElements, block);
    std::memcpy(out + static_cast<std::size_t>(i) * sizeof(Block), &block, sizeof(Block));
  }
}

template <std::uint16_t (*kConvert)(float)>
void convert(const float* in, std::byte* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint16_t half = kConvert(in[i]);
    std::memcpy(out + static_cast<std::size_t>(i) * sizeof half, &half, sizeof half);
  }
}

}  // namespace

void quantize_row(TensorType type, const float* in, std::byte* out, std::int64_t n) {
  switch (type) {
    case TensorType::kF32:
      std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case TensorType::kF16:
      return convert<f32_to_f16>(in, out, n);
    case TensorType::kBF16:
      return convert<f32_to_bf16>(in, out, n);
    case TensorType::kQ4_0:
      return quantize_blocks<BlockQ4_0, kSmallBlock>(in, out, n);
    case TensorType::kQ4_1:
      return quantize_blocks<BlockQ4_1, kSmallBlock>(in, out, n);
    case TensorType::kQ5_0:
      return quantize_blocks<BlockQ5_0, kSmallBlock>(in, out, n);
    case TensorType::kQ5_1:
      return quantize_blocks<BlockQ5_1, kSmallBlock>(in, out, n);
    case TensorType::kQ8_0:
      return quantize_blocks<BlockQ8_0, kSmallBlock>(in, out, n);
    case TensorType::kMXFP4:
      return quantize_blocks<BlockMXFP4, kSmallBlock>(in, out, n);
    case TensorType::kQ2_K:
      return quantize_blocks<BlockQ2_K, kSuperBlock>(in, out, n);
    case TensorType::kQ3_K:
      return quantize_blocks<BlockQ3_K, kSuperBlock>(in, out, n);
    case TensorType::kQ4_K:
      return quantize_blocks<BlockQ4_K, kSuperBlock>(in, out, n);
    case TensorType::kQ5_K:
      return quantize_blocks<BlockQ5_K, kSuperBlock>(in, out, n);
    case TensorType::kQ6_K:
      return quantize_blocks<BlockQ6_K, kSuperBlock>(in, out, n);
    default:
      std::abort();  // our own mistake: nobody writes the types whose weights come from a table
  }
}

}  // namespace runnel::kernels
