// Types whose weights come from a table: the IQ types, ternary ones, and floats of four bits with a
// scale of eight. Format: the quantisation formats of the ggml project.
#include "kernels/pack/codebook_types.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/half.h"
#include "kernels/pack/blocks.h"
#include "kernels/pack/codebooks.h"
#include "kernels/pack/eight_bytes.h"

namespace runnel::kernels {
namespace {

// A vector of n weights, and the weight that bit j of `signs` turns.
template <int kN, int kBits, std::size_t kValues>
void look_up(std::uint32_t entry, const int (&values)[kValues], float scale, unsigned signs,
             float* out) {
  for (int j = 0; j < kN; ++j) {
    const int value = values[(entry >> (kBits * j)) & ((1u << kBits) - 1)];
    const float weight = scale * static_cast<float>(value);
    out[j] = (signs >> j & 1u) != 0 ? -weight : weight;
  }
}

// Seven signs are stored; the eighth makes their number even.
unsigned with_parity(std::uint32_t signs) {
  signs &= 127;
  return signs | static_cast<unsigned>(std::popcount(signs) & 1) << 7;
}

int nibble(const std::uint8_t* bytes, int i) { return bytes[i / 2] >> (i % 2 * 4) & 15; }

std::uint32_t word(const std::uint8_t* bytes) {
  std::uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

void dequantize(const BlockIQ2_XXS& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int group = 0; group < 8; ++group) {
    const std::uint8_t* entries = b.qs + group * 8;
    const std::uint32_t rest = word(entries + 4);
    const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.25f;
    for (int i = 0; i < 4; ++i, out += 8)
      look_up<8, 2>(kIq2Xxs[entries[i]], kIq2XxsValues, scale, with_parity(rest >> (7 * i)), out);
  }
}

void dequantize(const BlockIQ2_XS& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const float scale = d * (0.5f + static_cast<float>(nibble(b.scales, i / 2))) * 0.25f;
    look_up<8, 2>(kIq2Xs[b.qs[i] & 511], kIq2XsValues, scale, with_parity(b.qs[i] >> 9u), out);
  }
}

void dequantize(const BlockIQ2_S& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const float scale = d * (0.5f + static_cast<float>(nibble(b.scales, i / 2))) * 0.25f;
    const int entry = b.qs[i] | (b.qh[i / 4] >> (i % 4 * 2) & 3) << 8;
    look_up<8, 2>(kIq2S[entry], kIq2SValues, scale, b.signs[i], out);
  }
}

// Of vector i of four weights.
int entry_at(const BlockIQ3_XXS& b, int i) { return b.qs[i]; }
int entry_at(const BlockIQ3_S& b, int i) { return b.qs[i] | (b.qh[i / 8] >> (i % 8) & 1) << 8; }
// Of vectors 2 * i and 2 * i + 1.
unsigned signs_at(const BlockIQ3_XXS& b, int i) {
  return with_parity(word(b.rest + i / 4 * 4) >> (i % 4 * 7));
}
unsigned signs_at(const BlockIQ3_S& b, int i) { return b.signs[i]; }

void dequantize(const BlockIQ3_XXS& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 64; ++i, out += 4) {
    const float scale = d * (0.5f + static_cast<float>(b.rest[i / 8 * 4 + 3] >> 4)) * 0.5f;
    look_up<4, 3>(kIq3Xxs[entry_at(b, i)], kIq3XxsValues, scale, signs_at(b, i / 2) >> (i % 2 * 4),
                  out);
  }
}

void dequantize(const BlockIQ3_S& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 64; ++i, out += 4) {
    const float scale = d * static_cast<float>(1 + 2 * nibble(b.scales, i / 8));
    look_up<4, 3>(kIq3S[entry_at(b, i)], kIq3SValues, scale, signs_at(b, i / 2) >> (i % 2 * 4),
                  out);
  }
}

// Vectors of four entries over kDivisor, as bytes.
template <int kDivisor, std::size_t kN>
constexpr std::array<std::uint32_t, kN> bytes_of_entries(const std::uint16_t (&entries)[kN],
                                                         const int (&values)[8]) {
  std::array<std::uint32_t, kN> bytes = {};
  for (std::size_t i = 0; i < kN; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int value = values[entries[i] >> (3 * j) & 7] / kDivisor;
      bytes[i] |= static_cast<std::uint32_t>(value) << (8 * j);
    }
  }
  return bytes;
}
constexpr auto kIq3SBytes = bytes_of_entries<1>(kIq3S, kIq3SValues);
constexpr auto kIq3XxsHalves = bytes_of_entries<2>(kIq3Xxs, kIq3XxsValues);

template <typename Block, std::size_t kN>
void look_up_signed(const Block& block, const std::array<std::uint32_t, kN>& entries, int offset,
                    std::uint8_t* out) {
  for (int i = 0; i < 32; ++i, out += 8) {
    const auto at = [&](int vector) {
      return EightBytes{entries[static_cast<std::size_t>(entry_at(block, vector))]};
    };
    const EightBytes eight = at(2 * i) | at(2 * i + 1) << 32;
    const EightBytes turned = bits_to_bytes(signs_at(block, i)) * 255;
    store_eight(out, eight_of(static_cast<unsigned>(offset)) + (eight & ~turned) -
                         (eight & turned));  // no byte leaves 0 to 255
  }
}

// Ternary vectors, moved by an eighth up or down.
void look_up_iq1(std::uint32_t entry, float scale, bool is_down, float* out) {
  for (int j = 0; j < 8; ++j) {
    const auto value = static_cast<float>(kIq1Values[kIq1[entry] >> (2 * j) & 3]);
    out[j] = scale * (value + (is_down ? -0.125f : 0.125f));
  }
}

void dequantize(const BlockIQ1_S& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int group = 0; group < 8; ++group) {
    const unsigned high = b.qh[group];
    const float scale = d * static_cast<float>(2 * (high >> 12 & 7) + 1);
    for (int i = 0; i < 4; ++i, out += 8)
      look_up_iq1(b.qs[group * 4 + i] | (high >> (3 * i) & 7) << 8, scale, high >> 15 != 0, out);
  }
}

void dequantize(const BlockIQ1_M& b, float* out) {
  unsigned d_bits = 0;  // the top four bits of each word
  for (unsigned i = 0; i < 4; ++i) d_bits |= (b.scales[i] >> 12u) << (4 * i);
  const float d = f16_to_f32(static_cast<std::uint16_t>(d_bits));
  for (int i = 0; i < 32; ++i, out += 8) {
    const int of_16 = i / 2;
    const int small = b.scales[of_16 / 4] >> (of_16 % 4 * 3) & 7;
    const auto high = static_cast<unsigned>(nibble(b.qh, i));
    look_up_iq1(b.qs[i] | (high & 7) << 8, d * static_cast<float>(2 * small + 1), high >> 3 != 0,
                out);
  }
}

void dequantize(const BlockIQ4_NL& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kIq4Values[b.qs[i] & 15]);
    out[i + 16] = d * static_cast<float>(kIq4Values[b.qs[i] >> 4]);
  }
}

void dequantize(const BlockIQ4_XS& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int group = 0; group < 8; ++group, out += 32) {
    const float scale = d * static_cast<float>(scale_iq4(b, group) - 32);
    const std::uint8_t* qs = b.qs + group * 16;
    for (int i = 0; i < 16; ++i) {
      out[i] = scale * static_cast<float>(kIq4Values[qs[i] & 15]);
      out[i + 16] = scale * static_cast<float>(kIq4Values[qs[i] >> 4]);
    }
  }
}

// Digits of base three, the first one on top: q / 256 is the number behind the point.
float* ternary(const std::uint8_t* bytes, int n_bytes, int n_digits, float d, float* out) {
  std::uint8_t power = 1;
  for (int digit = 0; digit < n_digits; ++digit) {
    for (int i = 0; i < n_bytes; ++i) {
      const auto q = static_cast<std::uint8_t>(bytes[i] * power);
      *out++ = d * static_cast<float>((q * 3 >> 8) - 1);
    }
    power = static_cast<std::uint8_t>(power * 3);
  }
  return out;
}

void dequantize(const BlockTQ1_0& b, float* out) {
  const float d = f16_to_f32(b.d);
  out = ternary(b.qs, 32, 5, d, out);
  out = ternary(b.qs + 32, 16, 5, d, out);
  ternary(b.qh, 4, 4, d, out);
}

void dequantize(const BlockTQ2_0& b, float* out) {
  const float d = f16_to_f32(b.d);
  for (int half = 0; half < 2; ++half) {
    for (int shift = 0; shift < 8; shift += 2) {
      for (int i = 0; i < 32; ++i)
        *out++ = d * static_cast<float>((b.qs[half * 32 + i] >> shift & 3) - 1);
    }
  }
}

// A float of four bits of exponent and three of mantissa; halved, since codes are doubled.
float half_of_e4m3(unsigned x) {
  if (x == 0 || x == 0x7f) return 0;
  const auto exponent = static_cast<int>(x >> 3 & 15);
  const auto mantissa = static_cast<float>(x & 7);
  const float value =
      exponent == 0 ? mantissa * 0x1p-9f
                    : std::bit_cast<float>(static_cast<std::uint32_t>((exponent - 7 + 127) << 23)) *
                          (1 + mantissa / 8);
  return value / 2;
}

void dequantize(const BlockNVFP4& b, float* out) {
  for (int part = 0; part < 4; ++part, out += 16) {
    const float d = half_of_e4m3(b.d[part]);
    for (int i = 0; i < 8; ++i) {
      const std::uint8_t q = b.qs[part * 8 + i];
      out[i] = d * static_cast<float>(kFloat4Values[q & 15]);
      out[i + 8] = d * static_cast<float>(kFloat4Values[q >> 4]);
    }
  }
}

template <typename Block>
bool dequantize_blocks(const std::byte* data, float* out, std::int64_t n_blocks, int n) {
  for (std::int64_t i = 0; i < n_blocks; ++i) {
    Block block;  // in files blocks may begin at any address
    std::memcpy(&block, data + i * static_cast<std::int64_t>(sizeof block), sizeof block);
    dequantize(block, out + i * n);
  }
  return true;
}

}  // namespace

void look_up_entries(const BlockIQ3_S& block, int offset, std::uint8_t* out) {
  look_up_signed(block, kIq3SBytes, offset, out);
}
void look_up_halved_entries(const BlockIQ3_XXS& block, int offset, std::uint8_t* out) {
  look_up_signed(block, kIq3XxsHalves, offset, out);
}

bool dequantize_codebook_row(TensorType type, const std::byte* data, float* out, std::int64_t n) {
  const int in_block = traits(type).block_elements;
  const auto run = [&]<typename Block>(Block) {
    return dequantize_blocks<Block>(data, out, n / in_block, in_block);
  };
  switch (type) {
    case TensorType::kIQ2_XXS:
      return run(BlockIQ2_XXS{});
    case TensorType::kIQ2_XS:
      return run(BlockIQ2_XS{});
    case TensorType::kIQ2_S:
      return run(BlockIQ2_S{});
    case TensorType::kIQ3_XXS:
      return run(BlockIQ3_XXS{});
    case TensorType::kIQ3_S:
      return run(BlockIQ3_S{});
    case TensorType::kIQ1_S:
      return run(BlockIQ1_S{});
    case TensorType::kIQ1_M:
      return run(BlockIQ1_M{});
    case TensorType::kIQ4_NL:
      return run(BlockIQ4_NL{});
    case TensorType::kIQ4_XS:
      return run(BlockIQ4_XS{});
    case TensorType::kTQ1_0:
      return run(BlockTQ1_0{});
    case TensorType::kTQ2_0:
      return run(BlockTQ2_0{});
    case TensorType::kNVFP4:
      return run(BlockNVFP4{});
    default:
      return false;
  }
}

}  // namespace runnel::kernels
