// Quantised weights as the integer kernels want them: sixteen rows together.
//
// A file holds a quantised matrix row by row; a vector wants the same columns of sixteen rows side
// by side. pack() rearranges, losing and adding nothing (K types grow by under 3 %, for their 6-bit
// scales take a byte). Four consecutive weights of a row are a quad, the unit of the machine's byte
// dot products; the quads of sixteen rows fill one 64-byte vector. A chunk of 32 columns is 8 such
// vectors of q-bit numbers, cut into planes of bits:
//
//   4-bit plane   byte i of 4 vectors: quad j in the low half, quad j + 4 in the high half
//   2-bit plane   2 vectors: quads 0 to 3 and 4 to 7, from the lowest bits up
//   1-bit plane   1 vector: bit j is quad j's
//   8-bit         8 vectors, as they are
//
// Group of 16 rows:  block, block, ...        Block:  d [16] f16, (m [16] f16), chunk, ...
// Chunk of 32 columns:  planes, (scales [n][16] int8, (minimums [n][16] int8)), n = 1 or 2
// sub-blocks
//
//   w = d * scale * (q - offset)  (- m * minimum),   scale = minimum = 1 where a format has none
//
// MXFP4's codes are looked up as twice their values plus 12, which are whole numbers from 0 to 24.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/tensor_type.h"

namespace runnel::kernels {

// Rows that pass a product together, packed or not; and the groups that hold so many rows.
inline constexpr int kGroupRows = 16;
inline std::int64_t n_groups(std::int64_t rows) { return (rows + kGroupRows - 1) / kGroupRows; }

struct PackedFormat {
  int bits = 4;
  int block = 32;           // columns that share d
  int sub_block = 32;       // columns that share a scale: 32 or 16
  bool has_scales = false;  // of sub-blocks
  bool has_minimums = false;
  int offset = 0;
  bool adds_minimum = false;  // w = ... + m
  bool is_wide = false;       // scales and minimums have 16 bits (spans.h)
  bool is_e2m1 = false;       // q is a code of MXFP4, standing for kTwiceE2M1[q]; d is a bfloat16

  constexpr int subs() const { return 32 / sub_block; }
  constexpr int largest() const { return is_e2m1 ? 24 : (1 << bits) - 1; }  // q, looked up
  constexpr int largest_size() const {                                      // of q - offset
    return offset > largest() - offset ? offset : largest() - offset;
  }
  constexpr std::size_t chunk_bytes() const {
    const int lists = (has_scales ? 1 : 0) + (has_scales && has_minimums ? 1 : 0);
    return static_cast<std::size_t>(64 * bits + kGroupRows * subs() * lists * (is_wide ? 2 : 1));
  }
  constexpr std::size_t head_bytes() const {  // of a block's d and m
    return (has_minimums ? 2 : 1) * kGroupRows * sizeof(std::uint16_t);
  }
  constexpr std::size_t block_bytes() const {
    return head_bytes() + static_cast<std::size_t>(block / 32) * chunk_bytes();
  }
};

inline constexpr PackedFormat kPackedQ8_0 = {.bits = 8, .offset = 128};
inline constexpr PackedFormat kPackedQ4_0 = {.bits = 4, .offset = 8};
inline constexpr PackedFormat kPackedQ5_0 = {.bits = 5, .offset = 16};
inline constexpr PackedFormat kPackedQ4_1 = {.bits = 4, .has_minimums = true, .adds_minimum = true};
inline constexpr PackedFormat kPackedQ5_1 = {.bits = 5, .has_minimums = true, .adds_minimum = true};
inline constexpr PackedFormat kPackedQ2_K = {
    .bits = 2, .block = 256, .sub_block = 16, .has_scales = true, .has_minimums = true};
inline constexpr PackedFormat kPackedQ3_K = {
    .bits = 3, .block = 256, .sub_block = 16, .has_scales = true, .offset = 4};
inline constexpr PackedFormat kPackedQ4_K = {
    .bits = 4, .block = 256, .has_scales = true, .has_minimums = true};
inline constexpr PackedFormat kPackedQ5_K = {
    .bits = 5, .block = 256, .has_scales = true, .has_minimums = true};
inline constexpr PackedFormat kPackedQ6_K = {
    .bits = 6, .block = 256, .sub_block = 16, .has_scales = true, .offset = 32};

// Codes of four bits that stand for numbers of eight are packed as these.
inline constexpr PackedFormat kPackedIQ4_NL = kPackedQ8_0;
inline constexpr PackedFormat kPackedIQ4_XS = {
    .bits = 8, .block = 256, .has_scales = true, .offset = 128};

// Signed entries of a table, as few bits as hold them: odd numbers up to 15, and halves of even
// ones up to 62, whose d is halved instead (exact, unless it is subnormal and odd).
inline constexpr PackedFormat kPackedIQ3_S = {
    .bits = 5, .block = 256, .has_scales = true, .offset = 15};
inline constexpr PackedFormat kPackedIQ3_XXS = {
    .bits = 6, .block = 256, .has_scales = true, .offset = 31};

inline constexpr PackedFormat kPackedMXFP4 = {.bits = 4, .offset = 12, .is_e2m1 = true};

// The packed types, by files that multiply them: everything else that knows them goes by these
// lists.
#define RUNNEL_BLOCK_TYPES(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(MXFP4) X(IQ4_NL)
#define RUNNEL_K_TYPES(X) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS) X(IQ3_S) X(IQ3_XXS)

constexpr bool is_k_type(TensorType type) {
#define RUNNEL_IS(name) || type == TensorType::k##name
  return false RUNNEL_K_TYPES(RUNNEL_IS);
#undef RUNNEL_IS
}

// nullopt for types that are not packed: floats, and most whose weights come from a table.
std::optional<PackedFormat> packed_format(TensorType type);

// Bytes of a group of rows.
inline std::size_t packed_group_bytes(const PackedFormat& format, std::int64_t cols) {
  return static_cast<std::size_t>(cols / format.block) * format.block_bytes();
}

std::size_t packed_bytes(TensorType type, std::int64_t cols);  // 0 for types that are not packed

// Packs rows [row, row + kGroupRows) of `rows` (missing ones become zeros) of a matrix stored at
// `data`.
void pack_group(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                std::int64_t row, std::byte* out);
// The same for the columns [first, last), whole blocks.
void pack_columns(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                  std::int64_t row, std::int64_t first, std::int64_t last, std::byte* out);

// 32 columns of one token as the integer kernels take them: int8 with a float scale, and the sums
// of the int8 numbers (what offsets and minimums are multiplied with).
struct InputChunk {
  std::int8_t q[32];
  float scale;
  // Of columns 0 to 15, 16 to 31 and of all: of the first two of each quad, and of the other two.
  std::int16_t pair_sums[3][2];
  std::int32_t sum;
  float scaled_sum;  // scale * sum

  constexpr std::int32_t half_sum(int half) const {
    return pair_sums[half][0] + pair_sums[half][1];
  }
};

// Four of those numbers.
typedef std::int32_t quad_word __attribute__((may_alias));

// How many of n sums of two products, of weights of sizes up to `largest` with such numbers, add up
// to one of 16 bits.
constexpr int sums_that_fit(int largest, int n) {
  const int fit = 32767 / (2 * 127 * largest);
  return fit < n ? fit : n;
}

// Tokens stand in groups (the last one may be smaller), and in a group chunk by chunk, so that what
// passes the weights together lies together: [group][chunk][token of the group].
inline constexpr int kInputGroup = 8;

struct InputPlace {
  std::int64_t first;  // index of the token's first chunk
  int stride;          // chunks from one to the token's next: the size of its group
};
inline InputPlace input_place(int token, int n_tokens, std::int64_t cols) {
  const int group = token / kInputGroup * kInputGroup;
  const int size = n_tokens - group < kInputGroup ? n_tokens - group : kInputGroup;
  return {group * ((cols + 31) / 32) + (token - group), size};
}

}  // namespace runnel::kernels
