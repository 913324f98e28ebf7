#include "kernels/pack/spans.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace runnel::kernels {
namespace {

constexpr float kLargestWeight = 32767;
// Bytes of a span as packed.h says, of any type: 8 bits, lists and heads of each chunk.
constexpr std::size_t kMostPackedSpan = kSpanChunks * (64 * 8 + 4 * kGroupRows + 4 * kGroupRows);

// What one row multiplies its numbers with in one span: w = d * s * (q - offset) - m * n.
struct RowScales {
  float d = 0;
  float m = 0;
  int s[kSubBlocks] = {};
  int n[kSubBlocks] = {};
};

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// values[i], as whole numbers up to `largest` times what is returned: NaN if they are not all
// finite.
float round_together(const float* values, int n_values, int largest, int* rounded) {
  float unit = 0;
  for (int i = 0; i < n_values; ++i) {
    if (!std::isfinite(values[i])) return kNaN;
    unit = std::max(unit, std::fabs(values[i]) / static_cast<float>(largest));
  }
  for (int i = 0; i < n_values && unit > 0; ++i)
    rounded[i] = static_cast<int>(std::lround(values[i] / unit));
  return unit;
}

// s and n of 16 bits, of weights d * q + m up to q = largest: as fine as 16 bits of W allow.
RowScales round_wide(const float* d, const float* m, int n_chunks, int largest) {
  const auto most_q = static_cast<float>(largest);
  float most = 0;
  for (int c = 0; c < n_chunks; ++c) {
    if (!std::isfinite(d[c]) || !std::isfinite(m[c])) return {.d = kNaN};
    most = std::max({most, std::fabs(m[c]), std::fabs(m[c] + d[c] * most_q)});
  }
  RowScales scales = {.d = most / (kLargestWeight - most_q - 1)};  // what rounding may add
  for (int c = 0; c < n_chunks && most > 0; ++c) {
    scales.s[c] = static_cast<int>(std::lround(d[c] / scales.d));
    scales.n[c] = static_cast<int>(std::lround(-m[c] / scales.d));
  }
  return scales;
}

std::uint16_t half_at(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  return bits;
}

// Row r's scales of the span that `block` begins, whose n_chunks chunks lie as packed.h says.
RowScales scales_of(const PackedFormat& format, const std::byte* block, int n_chunks, int r) {
  const int subs = format.subs();
  RowScales scales;
  if (format.has_scales) {  // one block is one span
    scales.d = f16_to_f32(half_at(block + 2 * r));
    if (format.has_minimums) scales.m = f16_to_f32(half_at(block + 2 * (kGroupRows + r)));
    const std::byte* chunk = block + format.head_bytes();
    for (int b = 0; b < n_chunks * subs; ++b) {
      const auto* lists = reinterpret_cast<const std::int8_t*>(
          chunk + static_cast<std::size_t>(b / subs) * format.chunk_bytes() + 64 * format.bits);
      scales.s[b] = lists[b % subs * kGroupRows + r];
      if (format.has_minimums) scales.n[b] = lists[(subs + b % subs) * kGroupRows + r];
    }
    return scales;
  }
  float d[kSpanChunks];
  float m[kSpanChunks] = {};
  for (int c = 0; c < n_chunks; ++c, block += format.block_bytes()) {
    const std::uint16_t bits = half_at(block + 2 * r);
    d[c] = format.is_e2m1 ? bf16_to_f32(bits) : f16_to_f32(bits);
    if (format.has_minimums) m[c] = f16_to_f32(half_at(block + 2 * (kGroupRows + r)));
  }
  if (format.has_minimums) return round_wide(d, m, n_chunks, format.largest());
  scales.d = round_together(d, n_chunks, is_unsigned(format) ? 255 : 127, scales.s);
  return scales;
}

// D, g and k of d and m: as fine as 16 bits of W allow.
struct Head {
  float unit;
  std::int16_t g;
  std::int16_t k;
};
Head head_of(const PackedFormat& format, const RowScales& scales) {
  float largest_s = 0;
  float largest_n = 0;
  for (int b = 0; b < kSubBlocks; ++b) {
    largest_s = std::max(largest_s, std::fabs(static_cast<float>(scales.s[b])));
    largest_n = std::max(largest_n, std::fabs(static_cast<float>(scales.n[b])));
  }
  const float of_q =
      std::fabs(scales.d) * std::max(1.0f, largest_s) * static_cast<float>((1 << format.bits) - 1);
  const float of_minimums = std::fabs(scales.m) * std::max(1.0f, largest_n);
  const float unit = (of_q + of_minimums) / (kLargestWeight - 128);  // what rounding k may add
  if (!std::isfinite(unit)) return {kNaN, 0, 0};
  if (unit == 0) return {0, 0, 0};
  const float g = std::floor(std::fabs(scales.d) / unit);
  const float exact = g > 0 ? scales.d / g : unit;
  return {exact, static_cast<std::int16_t>(g),
          static_cast<std::int16_t>(std::lround(scales.m / exact))};
}

// Row r's number of list `list`.
void put_scale(const PackedFormat& format, int scale, int list, int r, std::byte* lists) {
  const int at = list * kGroupRows + r;
  if (!format.is_wide) {
    lists[at] = static_cast<std::byte>(scale);
  } else {
    const auto half = static_cast<std::int16_t>(scale);
    std::memcpy(lists + 2 * at, &half, 2);
  }
}

// 8-bit numbers q + 128 of row r with the other sign; -128 becomes 127.
void negate_row(std::byte* chunk, int r) {
  for (int quad = 0; quad < 8; ++quad) {
    auto* q = reinterpret_cast<std::uint8_t*>(chunk) + quad * 64 + r * 4;
    for (int i = 0; i < 4; ++i) q[i] = static_cast<std::uint8_t>(std::min(256 - q[i], 255));
  }
}

// The span of n_chunks chunks that `block`, packed as packed.h says, begins.
void put_span(const PackedFormat& format, const std::byte* block, int n_chunks, std::byte* out) {
  const PackedFormat span = in_spans(format);
  std::byte* const chunks = out + span_head_bytes(format);
  const std::size_t planes = static_cast<std::size_t>(64 * format.bits);
  const int chunks_of_block = format.block / 32;
  for (int c = 0; c < n_chunks; ++c) {
    const std::byte* from =
        block + static_cast<std::size_t>(c / chunks_of_block) * format.block_bytes() +
        format.head_bytes() + static_cast<std::size_t>(c % chunks_of_block) * format.chunk_bytes();
    std::memcpy(chunks + static_cast<std::size_t>(c) * span.chunk_bytes(), from, planes);
  }
  for (int r = 0; r < kGroupRows; ++r) {
    RowScales scales = scales_of(format, block, n_chunks, r);
    Head head = {scales.d, 1, 0};
    if (has_factors(format)) head = head_of(format, scales);
    std::memcpy(out + 4 * r, &head.unit, 4);
    if (has_factors(format)) {
      std::memcpy(out + 4 * kGroupRows + 2 * r, &head.g, 2);
      std::memcpy(out + 4 * kGroupRows + 2 * (kGroupRows + r), &head.k, 2);
    }
    for (int b = 0; b < n_chunks * format.subs(); ++b) {
      std::byte* chunk = chunks + static_cast<std::size_t>(b / format.subs()) * span.chunk_bytes();
      if (is_unsigned(format) && scales.s[b] < 0) {
        negate_row(chunk, r);
        scales.s[b] = -scales.s[b];
      }
      std::byte* const lists = chunk + planes;
      const int sub = b % format.subs();
      put_scale(span, scales.s[b], sub, r, lists);
      if (format.has_minimums) put_scale(span, scales.n[b], format.subs() + sub, r, lists);
    }
  }
}

}  // namespace

std::size_t span_group_bytes(TensorType type, std::int64_t cols) {
  const auto format = packed_format(type);
  return format ? span_group_bytes_of(*format, cols) : 0;
}

void pack_spans(TensorType type, const std::byte* data, std::int64_t rows, std::int64_t cols,
                std::int64_t row, std::byte* out) {
  const PackedFormat format = *packed_format(type);
  std::byte packed[kMostPackedSpan];
  for (std::int64_t col = 0; col < cols; col += kSpan) {
    const std::int64_t end = std::min(cols, col + kSpan);
    pack_columns(type, data, rows, cols, row, col, end, packed);
    put_span(format, packed, static_cast<int>((end - col) / 32),
             out + span_group_bytes_of(format, col));
  }
}

}  // namespace runnel::kernels
