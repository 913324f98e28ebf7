// The blocks of quantised GGUF tensors, byte for byte as they lie in files, and the order of the
// bits in them. Format: the quantisation formats of the ggml project.
//
// d and dmin are half-precision floats. A block of the K types has 256 weights in sub-blocks of 16
// or 32, each with its own small scale (and minimum); w = d * scale * q [- dmin * minimum]. All
// blocks but MXFP4's have an even size and want an even address.
#pragma once

#include <cstddef>
#include <cstdint>

namespace runnel::kernels {

inline constexpr int kSmallBlock = 32;   // weights in a block of the Q and MXFP4 types
inline constexpr int kSuperBlock = 256;  // weights in a block of the K types

// 4 bits: byte i holds weight i in its low half and weight i + 16 in its high half.
struct BlockQ4_0 {  // w = d * (q - 8)
  std::uint16_t d;
  std::uint8_t qs[16];
};
struct BlockQ4_1 {  // w = d * q + m
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[16];
};
// The fifth bit of weight i is bit i of qh, little-endian.
struct BlockQ5_0 {  // w = d * (q - 16)
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
struct BlockQ5_1 {  // w = d * q + m
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
struct BlockQ8_0 {  // w = d * q
  std::uint16_t d;
  std::int8_t qs[32];
};
// The scale is a power of two, 2^(e - 127); q is a float of four bits: sign, two of exponent, one
// of mantissa. Halves of bytes as in Q4_0.
struct BlockMXFP4 {
  std::uint8_t e;
  std::uint8_t qs[16];
};

// 2 bits: byte i of each half of qs holds weights i, i + 32, i + 64 and i + 96 of that half of the
// block, from the lowest bits up.
struct BlockQ2_K {          // w = d * scale * q - dmin * minimum
  std::uint8_t scales[16];  // of 16 weights each: scale in the low half, minimum in the high
  std::uint8_t qs[64];
  std::uint16_t d;
  std::uint16_t dmin;
};
// The low bits as in Q2_K; the third bit of weight i is bit i / 32 of hmask[i % 32].
struct BlockQ3_K {  // w = d * (scale - 32) * (q - 4)
  std::uint8_t hmask[32];
  std::uint8_t qs[64];
  std::uint8_t scales[12];  // 16 of 6 bits: see scale_q3
  std::uint16_t d;
};
// Byte i of each 32 of qs holds weights i (low half) and i + 32 (high half) of that 64 of the
// block.
struct BlockQ4_K {  // w = d * scale * q - dmin * minimum
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];  // 8 scales and 8 minimums of 6 bits: see scale_q4, minimum_q4
  std::uint8_t qs[128];
};
// As Q4_K; the fifth bit of weight i is bit i / 32 of qh[i % 32].
struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};
// Byte i of each 64 of ql holds the low 4 bits of weights i (low half) and i + 64 (high half) of
// that half of the block; byte i of each 32 of qh the high 2 bits of weights i, i + 32, i + 64, i
// + 96.
struct BlockQ6_K {  // w = d * scale * (q - 32)
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];  // of 16 weights each
  std::uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockMXFP4) == 17);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

// Twice the value of each code of MXFP4; 8 to 15 are the negatives of 0 to 7.
inline constexpr std::int8_t kTwiceE2M1[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                               0, -1, -2, -3, -4, -6, -8, -12};

// The same plus 12: unsigned, for products of unsigned with signed bytes. Not inline: each kernel
// file has its own.
constexpr std::uint8_t kE2M1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

// Scale j (0 to 15) of Q3_K: its low 4 bits fill bytes 0 to 7 as halves (0 to 7 low, 8 to 15 high),
// its high 2 bits bytes 8 to 11, four to a byte.
inline int scale_q3(const std::uint8_t* scales, int j) {
  const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
  const int high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
  return low | (high << 4);
}

// Scales and minimums j (0 to 7) of Q4_K and Q5_K: the first four are the low 6 bits of bytes j and
// j + 4; the last four have their low 4 bits in the halves of byte j + 4 and their high 2 bits at
// the top of bytes j - 4 and j.
inline int scale_q4(const std::uint8_t* scales, int j) {
  return j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4);
}
inline int minimum_q4(const std::uint8_t* scales, int j) {
  return j < 4 ? scales[j + 4] & 63 : (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4);
}

}  // namespace runnel::kernels
