// Codes are uniform over their range; scales are chosen so that the weights get the deviation asked
// for, and with random signs or matching minimums, so that their mean is 0.
#include "model/random_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/half.h"
#include "kernels/pack/blocks.h"
#include "kernels/pack/codebook_types.h"

namespace runnel {
namespace {

using namespace kernels;

// Standard deviation of a uniform integer of that many values.
float spread(int n_values) {
  const auto n = static_cast<float>(n_values);
  return std::sqrt((n * n - 1) / 12);
}

void fill_bytes(void* out, std::size_t n, WeightRandom& random) {
  auto* p = static_cast<std::byte*>(out);
  for (; n >= 8; n -= 8, p += 8) {
    const std::uint64_t bits = random.next();
    std::memcpy(p, &bits, 8);
  }
  const std::uint64_t bits = random.next();
  std::memcpy(p, &bits, n);
}

std::uint16_t with_random_sign(float scale, WeightRandom& random) {
  return f32_to_f16(random.next() >> 63 != 0 ? -scale : scale);
}

void fill(float& w, float deviation, WeightRandom& random) {
  constexpr float kStep = 1.0f / 8388608;  // 2^-23: 24 bits of a uniform value in [-1, 1)
  const auto bits = static_cast<float>(random.next() >> 40);
  w = (bits * kStep - 1) * std::sqrt(3.0f) * deviation;
}
void fill_half(std::uint16_t& w, float deviation, WeightRandom& random) {
  float value;
  fill(value, deviation, random);
  w = f32_to_f16(value);
}
void fill_bfloat(std::uint16_t& w, float deviation, WeightRandom& random) {
  float value;
  fill(value, deviation, random);
  w = f32_to_bf16(value);
}

template <typename Block>
void fill_signed(Block& b, float deviation, WeightRandom& random, int n_codes) {
  fill_bytes(&b, sizeof b, random);
  b.d = with_random_sign(deviation / spread(n_codes), random);
}
void fill(BlockQ4_0& b, float deviation, WeightRandom& random) {
  fill_signed(b, deviation, random, 16);
}
void fill(BlockQ5_0& b, float deviation, WeightRandom& random) {
  fill_signed(b, deviation, random, 32);
}
void fill(BlockQ8_0& b, float deviation, WeightRandom& random) {
  fill_signed(b, deviation, random, 256);
}

template <typename Block>
void fill_between(Block& b, float deviation, WeightRandom& random, int n_codes) {
  fill_bytes(&b, sizeof b, random);
  const float d = deviation / spread(n_codes);
  b.d = f32_to_f16(d);
  b.m = f32_to_f16(-d * static_cast<float>(n_codes - 1) / 2);
}
void fill(BlockQ4_1& b, float deviation, WeightRandom& random) {
  fill_between(b, deviation, random, 16);
}
void fill(BlockQ5_1& b, float deviation, WeightRandom& random) {
  fill_between(b, deviation, random, 32);
}

void fill(BlockMXFP4& b, float deviation, WeightRandom& random) {
  constexpr float kSpread = 2.926f;  // root mean square of the 16 codes
  fill_bytes(&b, sizeof b, random);
  b.e = static_cast<std::uint8_t>(127 + std::lrint(std::log2(deviation / kSpread)));
}

// Types with minimums: each sub-block's minimum code equals its scale's, and dmin is d times the
// middle weight code.
template <typename Block>
void set_d_and_dmin(Block& b, float deviation, float mean_scale, int n_codes) {
  const float d = deviation / (spread(n_codes) * mean_scale);
  b.d = f32_to_f16(d);
  b.dmin = f32_to_f16(d * static_cast<float>(n_codes - 1) / 2);
}
void fill(BlockQ2_K& b, float deviation, WeightRandom& random) {
  fill_bytes(&b, sizeof b, random);
  for (std::uint8_t& scale : b.scales) scale = static_cast<std::uint8_t>(((scale & 7) | 8) * 0x11);
  set_d_and_dmin(b, deviation, 11.5f, 4);
}
template <typename Block>
void fill_q4_or_q5(Block& b, float deviation, WeightRandom& random, int n_codes) {
  fill_bytes(&b, sizeof b, random);
  for (int i = 0; i < 4; ++i) {  // scales of 32 to 63: the top one of their 6 bits is set
    b.scales[i] = b.scales[i + 4] = b.scales[i] | 0xa0;
    b.scales[i + 8] = static_cast<std::uint8_t>((b.scales[i + 8] & 15) * 0x11);
  }
  set_d_and_dmin(b, deviation, 47.5f, n_codes);
}
void fill(BlockQ4_K& b, float deviation, WeightRandom& random) {
  fill_q4_or_q5(b, deviation, random, 16);
}
void fill(BlockQ5_K& b, float deviation, WeightRandom& random) {
  fill_q4_or_q5(b, deviation, random, 32);
}

// Types with signed scales.
void fill(BlockQ3_K& b, float deviation, WeightRandom& random) {
  fill_bytes(&b, sizeof b, random);
  b.d = with_random_sign(deviation / (spread(8) * spread(64)), random);
}
void fill(BlockQ6_K& b, float deviation, WeightRandom& random) {
  fill_bytes(&b, sizeof b, random);
  b.d = with_random_sign(deviation / (spread(64) * spread(256)), random);
}

// Types whose weights come from a table: where a block has d, and the root mean square of weights
// of random bytes where d is 1.
struct Codebook {
  TensorType type;
  std::size_t d_at;
  float rms;
};
constexpr Codebook kCodebooks[] = {
    {TensorType::kIQ1_S, 0, 7.21f},    {TensorType::kIQ2_XXS, 0, 53.4f},
    {TensorType::kIQ2_XS, 0, 55.9f},   {TensorType::kIQ2_S, 0, 56.5f},
    {TensorType::kIQ3_XXS, 0, 142.5f}, {TensorType::kIQ3_S, 0, 140.2f},
    {TensorType::kIQ4_NL, 0, 67.5f},   {TensorType::kIQ4_XS, 0, 1248.0f},
    {TensorType::kTQ1_0, 52, 0.817f},  {TensorType::kTQ2_0, 64, 1.224f},
};

void fill_codebook(const Codebook& book, float deviation, WeightRandom& random, std::byte* out,
                   std::int64_t n_blocks) {
  const std::size_t n_bytes = traits(book.type).block_bytes;
  for (std::int64_t i = 0; i < n_blocks; ++i, out += n_bytes) {
    fill_bytes(out, n_bytes, random);
    const std::uint16_t d = with_random_sign(deviation / book.rms, random);
    std::memcpy(out + book.d_at, &d, sizeof d);
  }
}
void fill(BlockIQ1_M& b, float deviation, WeightRandom& random) {  // d in the words' top bits
  fill_bytes(&b, sizeof b, random);
  const std::uint16_t d = with_random_sign(deviation / 7.2f, random);
  for (int i = 0; i < 4; ++i)
    b.scales[i] = static_cast<std::uint16_t>((b.scales[i] & 0xfff) | (d >> (4 * i) & 15) << 12);
}
void fill(BlockNVFP4& b, float deviation, WeightRandom& random) {  // scales: powers of two
  constexpr float kSpread = 5.857f;
  fill_bytes(&b, sizeof b, random);
  const auto exponent = std::clamp(std::lrint(std::log2(deviation / kSpread)), -7L, 7L);
  for (std::uint8_t& d : b.d) d = static_cast<std::uint8_t>((exponent + 8) << 3);
}

template <typename Block, typename Fill>
void fill_blocks(std::byte* out, std::int64_t n_blocks, Fill fill_block) {
  for (std::int64_t i = 0; i < n_blocks; ++i, out += sizeof(Block)) {
    Block block;
    fill_block(block);
    std::memcpy(out, &block, sizeof block);
  }
}

}  // namespace

void random_weights(TensorType type, float deviation, WeightRandom& random, std::byte* out,
                    std::int64_t n) {
  const std::int64_t n_blocks = n / traits(type).block_elements;
  const auto blocks = [&]<typename Block>(Block) {
    fill_blocks<Block>(out, n_blocks, [&](Block& b) { fill(b, deviation, random); });
  };
  const auto halves = [&](auto fill_one) {
    fill_blocks<std::uint16_t>(out, n, [&](std::uint16_t& w) { fill_one(w, deviation, random); });
  };
  switch (type) {
    case TensorType::kF32:
      return blocks(float{});
    case TensorType::kF16:
      return halves(fill_half);
    case TensorType::kBF16:
      return halves(fill_bfloat);
    case TensorType::kQ4_0:
      return blocks(BlockQ4_0{});
    case TensorType::kQ4_1:
      return blocks(BlockQ4_1{});
    case TensorType::kQ5_0:
      return blocks(BlockQ5_0{});
    case TensorType::kQ5_1:
      return blocks(BlockQ5_1{});
    case TensorType::kQ8_0:
      return blocks(BlockQ8_0{});
    case TensorType::kQ2_K:
      return blocks(BlockQ2_K{});
    case TensorType::kQ3_K:
      return blocks(BlockQ3_K{});
    case TensorType::kQ4_K:
      return blocks(BlockQ4_K{});
    case TensorType::kQ5_K:
      return blocks(BlockQ5_K{});
    case TensorType::kQ6_K:
      return blocks(BlockQ6_K{});
    case TensorType::kMXFP4:
      return blocks(BlockMXFP4{});
    case TensorType::kNVFP4:
      return blocks(BlockNVFP4{});
    case TensorType::kIQ1_M:
      return blocks(BlockIQ1_M{});
    default:
      for (const Codebook& book : kCodebooks) {
        if (book.type == type) return fill_codebook(book, deviation, random, out, n_blocks);
      }
  }
  std::abort();  // our own mistake: every type is listed
}

}  // namespace runnel
