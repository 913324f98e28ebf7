// Blocks of the types whose weights come from a table, byte for byte as they lie in files, and
// their weights. Each has 256 weights but IQ4_NL's (32) and NVFP4's (64). d is a half-precision
// float.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor_type.h"

namespace runnel::kernels {

// Values of codes of four bits.
inline constexpr int kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr int kFloat4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                          0, -1, -2, -3, -4, -6, -8, -12};  // doubled

struct BlockIQ2_XXS {  // for each 32 weights four entries, then a word of signs (4 x 7) and scale
  std::uint16_t d;
  std::uint8_t qs[64];
};
struct BlockIQ2_XS {  // for each 8 weights: 9 bits of entry, 7 of signs
  std::uint16_t d;
  std::uint16_t qs[32];
  std::uint8_t scales[8];  // 4 bits for 16 weights
};
struct BlockIQ2_S {  // for each 8 weights 10 bits of entry and a byte of signs
  std::uint16_t d;
  std::uint8_t qs[32];
  std::uint8_t signs[32];
  std::uint8_t qh[8];
  std::uint8_t scales[8];  // 4 bits for 16 weights
};
struct BlockIQ3_XXS {  // for each 4 weights an entry; for 32 a word of signs (4 x 7) and scale
  std::uint16_t d;
  std::uint8_t qs[64];
  std::uint8_t rest[32];
};
// Of 32 weights, 1 to 31: w = d * scale / 4 * entry.
inline int scale_iq3_xxs(const BlockIQ3_XXS& b, int i) { return 1 + 2 * (b.rest[4 * i + 3] >> 4); }
struct BlockIQ3_S {  // for each 4 weights 9 bits of entry, for 8 a byte of signs
  std::uint16_t d;
  std::uint8_t qs[64];
  std::uint8_t qh[8];
  std::uint8_t signs[32];
  std::uint8_t scales[4];  // 4 bits for 32 weights
};
// Of 32 weights, 1 to 31: w = d * scale * entry.
inline int scale_iq3_s(const BlockIQ3_S& b, int i) {
  return 1 + 2 * (b.scales[i / 2] >> (i % 2 * 4) & 15);
}
struct BlockIQ1_S {  // for each 8 weights 11 bits of entry; qh has 3 x 4 of them, scale and sign
  std::uint16_t d;
  std::uint8_t qs[32];
  std::uint16_t qh[8];
};
struct BlockIQ1_M {  // for each 8 weights 11 bits of entry and a sign
  std::uint8_t qs[32];
  std::uint8_t qh[16];
  std::uint16_t scales[4];  // 3 bits for 16 weights; the top four bits of each are d's
};
struct BlockIQ4_NL {  // w = d * value of q, halves of bytes as in Q4_0
  std::uint16_t d;
  std::uint8_t qs[16];
};
struct BlockIQ4_XS {  // w = d * (scale - 32) * value of q, for each 32 weights
  std::uint16_t d;
  std::uint16_t scales_h;    // 2 bits each
  std::uint8_t scales_l[4];  // 4 bits each
  std::uint8_t qs[128];
};
// Of 32 weights, 0 to 63.
inline int scale_iq4(const BlockIQ4_XS& b, int i) {
  return (b.scales_l[i / 2] >> (i % 2 * 4) & 15) | (b.scales_h >> (2 * i) & 3) << 4;
}
struct BlockTQ1_0 {  // five digits of base three in a byte, four in those of qh
  std::uint8_t qs[48];
  std::uint8_t qh[4];
  std::uint16_t d;
};
struct BlockTQ2_0 {  // w = d * (q - 1), two bits each
  std::uint8_t qs[64];
  std::uint16_t d;
};
struct BlockNVFP4 {  // for each 16 weights a scale of eight bits; q as in MXFP4
  std::uint8_t d[4];
  std::uint8_t qs[32];
};

static_assert(sizeof(BlockIQ2_XXS) == 66 && sizeof(BlockIQ2_XS) == 74 && sizeof(BlockIQ2_S) == 82);
static_assert(sizeof(BlockIQ3_XXS) == 98 && sizeof(BlockIQ3_S) == 110);
static_assert(sizeof(BlockIQ1_S) == 50 && sizeof(BlockIQ1_M) == 56);
static_assert(sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockTQ1_0) == 54 && sizeof(BlockTQ2_0) == 66 && sizeof(BlockNVFP4) == 36);

// n weights of one of these types. False for any other type.
bool dequantize_codebook_row(TensorType type, const std::byte* data, float* out, std::int64_t n);

// Entries of 256 weights, signed and moved up by offset to be bytes; the second kind by half.
void look_up_entries(const BlockIQ3_S& block, int offset, std::uint8_t* out);
void look_up_halved_entries(const BlockIQ3_XXS& block, int offset, std::uint8_t* out);

}  // namespace runnel::kernels
