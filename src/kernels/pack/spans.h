// Quantised weights as the matrix unit wants them: whole numbers over 256 columns.
//
// The unit sums int8 products exactly, but taking sums out of it costs as much as making them. So
// scales are whole numbers too, and a float is needed once for a span of 256 columns (the last one
// of a row may be shorter):
//
//   y = sum over spans of  D * X * sum over its columns of W * x
//   W = s * (q - offset)            in sub-blocks of 16 or 32 columns that share s, of 8 bits
//   W = s * q - n                   where a small block has a minimum: s and n of 16 bits
//   W = g * s * q - k * n           where K types have: g and k for a span
//
// W has 16 bits, two digits for the unit; a token alone takes sub-blocks' sums times s: the same
// whole number. K types keep their scales, only k is rounded (to a 30,000th of the largest weight
// of the span). So are s and n of small blocks with minimums; other scales are rounded to a 127th
// of the span's largest (Q8_0, MXFP4: a 255th), which moves Q8_0's weights by a quarter of their
// step at most, the others' less.
//
// Group of 16 rows:  span, span, ...       Span:  D [16] f32, (g [16], k [16] int16), chunk, ...
// Chunk of 32 columns:  as in packed.h, with lists s [subs][16] int8 (uint8 where is_unsigned(),
// int16 where is_wide) and, with minimums, n [subs][16] of the same
#pragma once

#include <algorithm>

#include "kernels/pack/packed.h"

namespace runnel::kernels {

inline constexpr int kSpan = 256;
inline constexpr int kSubBlocks = kSpan / 16;  // at most, of a span
inline constexpr int kSpanChunks = kSpan / 32;

// `format` with lists of its own.
constexpr PackedFormat in_spans(PackedFormat format) {
  format.is_wide = !format.has_scales && format.has_minimums;
  format.has_scales = true;
  format.block = kSpan;
  return format;
}
// Whether s goes up to 255.
constexpr bool is_unsigned(const PackedFormat& format) {
  return format.bits == 8 || format.is_e2m1;
}
// Whether a span has g and k.
constexpr bool has_factors(const PackedFormat& format) {
  return format.has_minimums && !in_spans(format).is_wide;
}
constexpr std::size_t span_head_bytes(const PackedFormat& format) {
  return (has_factors(format) ? 2 : 1) * kGroupRows * sizeof(float);
}

constexpr std::int64_t n_spans(std::int64_t cols) { return (cols + kSpan - 1) / kSpan; }

// Inputs: whole numbers with a scale for a span, which have a second digit where a few of them
// stand out (256 times as much), so that the others keep their precision: low digits, then high
// ones. Each lie as int8 with sums of 16 columns; of all tokens one span after the other, for they
// pass it together; in groups of kTokenGroup (the last may be smaller):
//   q [spans][groups][4][tokens of the group][64] int8, zeros past the row
//   scales [spans][tokens] f32 of low digits; of high ones uint32, bit s where step s has some
//   sums [spans][tokens][16] int16
inline constexpr int kTokenGroup = 16;
inline constexpr std::int64_t kSpanInputBytes = 320;  // of a token's digits, with what aligns them
inline constexpr int kHighDigit = 256;

template <typename Byte>  // std::byte, const or not
struct SpanInputs {
  Byte* begin;
  std::int64_t n_tokens;
  std::int64_t n_spans;

  // 64 columns of a token; those of the next of its group follow.
  auto* q(std::int64_t span, int step, int token) const {
    const int first = token / kTokenGroup * kTokenGroup;
    const std::int64_t left = n_tokens - first;
    const std::int64_t size = left < kTokenGroup ? left : kTokenGroup;
    return begin + (span * n_tokens + first) * kSpan + (step * size + token - first) * 64;
  }
  auto* scale(std::int64_t span, int token) const {
    return as<float>(begin + n_spans * n_tokens * kSpan) + span * n_tokens + token;
  }
  // Of high digits: the steps of 64 columns that have some.
  auto* steps(std::int64_t span, int token) const {
    return as<std::uint32_t>(begin + n_spans * n_tokens * kSpan) + span * n_tokens + token;
  }
  SpanInputs high() const {
    return {begin + n_spans * n_tokens * kSpanInputBytes, n_tokens, n_spans};
  }
  auto* sums(std::int64_t span, int token) const {
    return as<std::int16_t>(begin + n_spans * n_tokens * (kSpan + 4)) +
           (span * n_tokens + token) * kSubBlocks;
  }

 private:
  template <typename T>
  static auto* as(std::byte* p) {
    return reinterpret_cast<T*>(p);
  }
  template <typename T>
  static auto* as(const std::byte* p) {
    return reinterpret_cast<const T*>(p);
  }
};

// Bytes of a group of rows; 0 for types that are not packed.
constexpr std::size_t span_group_bytes_of(const PackedFormat& format, std::int64_t cols) {
  return static_cast<std::size_t>(n_spans(cols)) * span_head_bytes(format) +
         static_cast<std::size_t>(cols / 32) * in_spans(format).chunk_bytes();
}
std::size_t span_group_bytes(TensorType type, std::int64_t cols);

// As pack_group().
void pack_spans(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                std::int64_t row, std::byte* out);

}  // namespace runnel::kernels
