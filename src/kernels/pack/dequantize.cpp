#include "kernels/pack/dequantize.h"

#include <bit>
#include <cstdlib>
#include <cstring>

#include "base/half.h"
#include "kernels/pack/blocks.h"
#include "kernels/pack/codebook_types.h"

namespace runnel::kernels {
namespace {

// One block to floats: [kSmallBlock] or [kSuperBlock].

void dequantize(const BlockQ4_0& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((b.qs[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((b.qs[i] >> 4) - 8);
  }
}

void dequantize(const BlockQ4_1& b, float* out) {
  const float d = f16_to_f32(b.d);
  const float m = f16_to_f32(b.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(b.qs[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(b.qs[i] >> 4) + m;
  }
}

std::uint32_t load_u32(const std::uint8_t* bytes) {
  std::uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

void dequantize(const BlockQ5_0& b, float* out) {
  const float d = f16_to_f32(b.d);
  const std::uint32_t high = load_u32(b.qh);
  for (int i = 0; i < 16; ++i) {
    const int low_q = (b.qs[i] & 15) | static_cast<int>(((high >> i) & 1u) << 4);
    const int high_q = (b.qs[i] >> 4) | static_cast<int>(((high >> (i + 16)) & 1u) << 4);
    out[i] = d * static_cast<float>(low_q - 16);
    out[i + 16] = d * static_cast<float>(high_q - 16);
  }
}

void dequantize(const BlockQ5_1& b, float* out) {
  const float d = f16_to_f32(b.d);
  const float m = f16_to_f32(b.m);
  const std::uint32_t high = load_u32(b.qh);
  for (int i = 0; i < 16; ++i) {
    const int low_q = (b.qs[i] & 15) | static_cast<int>(((high >> i) & 1u) << 4);
    const int high_q = (b.qs[i] >> 4) | static_cast<int>(((high >> (i + 16)) & 1u) << 4);
    out[i] = d * static_cast<float>(low_q) + m;
    out[i + 16] = d * static_cast<float>(high_q) + m;
  }
}

void dequantize(const BlockQ8_0& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(b.qs[i]);
}

// 2^(e - 128): half the scale of MXFP4, for the table of doubled values. Exact down to the smallest
// scales, which are subnormal.
float half_scale_mxfp4(std::uint8_t e) {
  const std::uint32_t bits = e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23;
  return std::bit_cast<float>(bits);
}

void dequantize(const BlockMXFP4& b, float* out) {
  const float d = half_scale_mxfp4(b.e);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kTwiceE2M1[b.qs[i] & 15]);
    out[i + 16] = d * static_cast<float>(kTwiceE2M1[b.qs[i] >> 4]);
  }
}

void dequantize(const BlockQ2_K& b, float* out) {
  const float d = f16_to_f32(b.d);
  const float dmin = f16_to_f32(b.dmin);
  for (int j = 0; j < 16; ++j) {  // 16 weights of the same scale
    const float scale = d * static_cast<float>(b.scales[j] & 15);
    const float minimum = dmin * static_cast<float>(b.scales[j] >> 4);
    const std::uint8_t* qs = b.qs + 32 * (j / 8) + 16 * (j % 2);
    const int shift = 2 * (j % 8 / 2);
    for (int i = 0; i < 16; ++i) {
      out[16 * j + i] = scale * static_cast<float>((qs[i] >> shift) & 3) - minimum;
    }
  }
}

void dequantize(const BlockQ3_K& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int j = 0; j < 16; ++j) {
    const float scale = d * static_cast<float>(scale_q3(b.scales, j) - 32);
    const std::uint8_t* qs = b.qs + 32 * (j / 8) + 16 * (j % 2);
    const std::uint8_t* hmask = b.hmask + 16 * (j % 2);
    const int shift = 2 * (j % 8 / 2);
    for (int i = 0; i < 16; ++i) {
      const int q = ((qs[i] >> shift) & 3) | (((hmask[i] >> (j / 2)) & 1) << 2);
      out[16 * j + i] = scale * static_cast<float>(q - 4);
    }
  }
}

void dequantize(const BlockQ4_K& b, float* out) {
  const float d = f16_to_f32(b.d);
  const float dmin = f16_to_f32(b.dmin);
  for (int j = 0; j < 8; ++j) {  // 32 weights of the same scale
    const float scale = d * static_cast<float>(scale_q4(b.scales, j));
    const float minimum = dmin * static_cast<float>(minimum_q4(b.scales, j));
    const std::uint8_t* qs = b.qs + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) {
      out[32 * j + i] = scale * static_cast<float>((qs[i] >> shift) & 15) - minimum;
    }
  }
}

void dequantize(const BlockQ5_K& b, float* out) {
  const float d = f16_to_f32(b.d);
  const float dmin = f16_to_f32(b.dmin);
  for (int j = 0; j < 8; ++j) {
    const float scale = d * static_cast<float>(scale_q4(b.scales, j));
    const float minimum = dmin * static_cast<float>(minimum_q4(b.scales, j));
    const std::uint8_t* qs = b.qs + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) {
      const int q = ((qs[i] >> shift) & 15) | (((b.qh[i] >> j) & 1) << 4);
      out[32 * j + i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void dequantize(const BlockQ6_K& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int j = 0; j < 16; ++j) {
    const float scale = d * static_cast<float>(b.scales[j]);
    const std::uint8_t* ql = b.ql + 64 * (j / 8) + 16 * (j % 4);
    const std::uint8_t* qh = b.qh + 32 * (j / 8) + 16 * (j % 2);
    const int low_shift = 4 * (j % 8 / 4);
    const int high_shift = 2 * (j % 8 / 2);
    for (int i = 0; i < 16; ++i) {
      const int q = ((ql[i] >> low_shift) & 15) | (((qh[i] >> high_shift) & 3) << 4);
      out[16 * j + i] = scale * static_cast<float>(q - 32);
    }
  }
}

template <typename Block, int kElements>
void dequantize_blocks(const std::byte* data, float* out, std::int64_t n) {
  const auto* blocks = reinterpret_cast<const Block*>(data);
  for (std::int64_t i = 0; i < n / kElements; ++i) dequantize(blocks[i], out + i * kElements);
}

void convert_f16(const std::byte* data, float* out, std::int64_t n) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(data);
  for (std::int64_t i = 0; i < n; ++i) out[i] = f16_to_f32(halves[i]);
}

void convert_bf16(const std::byte* data, float* out, std::int64_t n) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(data);
  for (std::int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(halves[i]);
}

}  // namespace

void dequantize_row(TensorType type, const std::byte* data, float* out, std::int64_t n) {
  switch (type) {
    case TensorType::kF32:
      std::memcpy(out, data, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case TensorType::kF16:
      return convert_f16(data, out, n);
    case TensorType::kBF16:
      return convert_bf16(data, out, n);
    case TensorType::kQ4_0:
      return dequantize_blocks<BlockQ4_0, kSmallBlock>(data, out, n);
    case TensorType::kQ4_1:
      return dequantize_blocks<BlockQ4_1, kSmallBlock>(data, out, n);
    case TensorType::kQ5_0:
      return dequantize_blocks<BlockQ5_0, kSmallBlock>(data, out, n);
    case TensorType::kQ5_1:
      return dequantize_blocks<BlockQ5_1, kSmallBlock>(data, out, n);
    case TensorType::kQ8_0:
      return dequantize_blocks<BlockQ8_0, kSmallBlock>(data, out, n);
    case TensorType::kMXFP4:
      return dequantize_blocks<BlockMXFP4, kSmallBlock>(data, out, n);
    case TensorType::kQ2_K:
      return dequantize_blocks<BlockQ2_K, kSuperBlock>(data, out, n);
    case TensorType::kQ3_K:
      return dequantize_blocks<BlockQ3_K, kSuperBlock>(data, out, n);
    case TensorType::kQ4_K:
      return dequantize_blocks<BlockQ4_K, kSuperBlock>(data, out, n);
    case TensorType::kQ5_K:
      return dequantize_blocks<BlockQ5_K, kSuperBlock>(data, out, n);
    case TensorType::kQ6_K:
      return dequantize_blocks<BlockQ6_K, kSuperBlock>(data, out, n);
    default:
      if (dequantize_codebook_row(type, data, out, n)) return;
  }
  std::abort();  // our own mistake: a TensorType value is always one of the above
}

}  // namespace runnel::kernels
