#include "kernels/pack/spans.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace runnel::kernels {
namespace {

constexpr float kLargestWeight = 32767;
// Bytes of a span as packed.h says, of any type: 8 bits, lists and heads of each chunk.
constexpr std::size_t kMostPackedSpan = kSpanChunks * (64 * 8 + 4 * kGroupRows + 4 * kGroupRows);

// A number of each row. Loops over rows become vectors.
template <typename T>
using Rows = std::array<T, kGroupRows>;
#define RUNNEL_EACH_ROW for (std::size_t r = 0; r < kGroupRows; ++r)

template <typename T>
Rows<T> load_rows(const std::byte* p) {
  Rows<T> rows;
  std::memcpy(rows.data(), p, sizeof(rows));
  return rows;
}
template <typename T, typename U>
void store_rows(const Rows<U>& rows, std::byte* p) {
  Rows<T> stored;
  RUNNEL_EACH_ROW stored[r] = static_cast<T>(rows[r]);
  std::memcpy(p, stored.data(), sizeof(stored));
}
Rows<float> load_halves(const std::byte* p, bool are_bfloat16) {
  const auto bits = load_rows<std::uint16_t>(p);
  Rows<float> floats;
  RUNNEL_EACH_ROW floats[r] = are_bfloat16 ? bf16_to_f32(bits[r]) : f16_to_f32(bits[r]);
  return floats;
}

// As std::lround(), below 2^22.
int round(float x) { return static_cast<int>(x + std::copysign(0.49999997f, x)); }

// The largest size of numbers, NaN if they are not all finite.
class Largest {
 public:
  void add(const Rows<float>& numbers) {
    RUNNEL_EACH_ROW {
      size_[r] = std::max(size_[r], std::fabs(numbers[r]));
      nothing_[r] += 0 * numbers[r];
    }
  }
  float of(std::size_t row) const { return size_[row] + nothing_[row]; }

 private:
  Rows<float> size_ = {};
  Rows<float> nothing_ = {};  // or NaN
};

// numbers as whole ones times unit; 0 where there is none.
Rows<int> round_rows(const Rows<float>& numbers, const Rows<float>& unit) {
  Rows<int> whole;
  RUNNEL_EACH_ROW {
    const bool has_unit = unit[r] > 0;
    whole[r] = round((has_unit ? numbers[r] : 0) / (has_unit ? unit[r] : 1));
  }
  return whole;
}

// 8-bit numbers q + 128 of row r with the other sign; -128 becomes 127.
void negate_row(std::byte* chunk, std::size_t r) {
  for (std::byte* quad = chunk + 4 * r; quad < chunk + 512; quad += 64) {
    std::uint32_t q;
    std::memcpy(&q, quad, sizeof(q));
    const std::uint32_t is_not_0 =
        (((q & 0x7f7f7f7f) + 0x7f7f7f7f) | q) >> 7 & 0x01010101;  // in each byte
    q = ~q + is_not_0;
    std::memcpy(quad, &q, sizeof(q));
  }
}

// Small blocks of weights d * q + m: w = D * (s * q - n), s and n of 16 bits, as fine as 16 bits of
// W allow; or d * q: w = D * s * q, s of 8 bits.
void put_small_blocks(const PackedFormat& format, const std::byte* block, int n_chunks,
                      std::byte* out) {
  const auto largest_q = static_cast<float>(format.largest());
  Rows<float> d[kSpanChunks];
  Rows<float> m[kSpanChunks];
  Largest largest;
  for (int c = 0; c < n_chunks; ++c) {
    const std::byte* const head = block + static_cast<std::size_t>(c) * format.block_bytes();
    d[c] = load_halves(head, format.is_e2m1);
    if (format.has_minimums) {
      m[c] = load_halves(head + 2 * kGroupRows, false);
      largest.add(m[c]);
      Rows<float> last;
      RUNNEL_EACH_ROW last[r] = m[c][r] + d[c][r] * largest_q;
      largest.add(last);
    } else {
      largest.add(d[c]);
    }
  }
  const float most = format.has_minimums ? kLargestWeight - largest_q - 1  // what rounding may add
                                         : (is_unsigned(format) ? 255 : 127);
  Rows<float> unit;
  RUNNEL_EACH_ROW unit[r] = largest.of(r) / most;
  store_rows<float>(unit, out);

  std::byte* chunk = out + span_head_bytes(format);
  const auto planes = static_cast<std::size_t>(64 * format.bits);
  for (int c = 0; c < n_chunks; ++c, chunk += in_spans(format).chunk_bytes()) {
    std::memcpy(chunk,
                block + static_cast<std::size_t>(c) * format.block_bytes() + format.head_bytes(),
                planes);
    Rows<int> s = round_rows(d[c], unit);
    std::byte* const lists = chunk + planes;
    if (format.has_minimums) {
      store_rows<std::int16_t>(s, lists);
      Rows<int> n = round_rows(m[c], unit);
      RUNNEL_EACH_ROW n[r] = -n[r];
      store_rows<std::int16_t>(n, lists + 2 * kGroupRows);
      continue;
    }
    if (is_unsigned(format)) {
      RUNNEL_EACH_ROW if (s[r] < 0) {
        negate_row(chunk, r);
        s[r] = -s[r];
      }
    }
    store_rows<std::uint8_t>(s, lists);
  }
}

// D, g and k of d and m: as fine as 16 bits of W allow.
struct Factors {
  float unit = std::numeric_limits<float>::quiet_NaN();
  std::int16_t g = 0;
  std::int16_t k = 0;
};
Factors factors_of(float d, float m, int bits, int largest_s, int largest_n) {
  const float of_q = std::fabs(d) * static_cast<float>(std::max(1, largest_s) * ((1 << bits) - 1));
  const float of_minimums = std::fabs(m) * static_cast<float>(std::max(1, largest_n));
  const float unit = (of_q + of_minimums) / (kLargestWeight - 128);  // what rounding k may add
  if (!std::isfinite(unit)) return {};
  if (unit == 0) return {0, 0, 0};
  const float g = std::floor(std::fabs(d) / unit);
  const float exact = g > 0 ? d / g : unit;
  return {exact, static_cast<std::int16_t>(g), static_cast<std::int16_t>(std::lround(m / exact))};
}

// A block of the K types, which is a span.
void put_super_block(const PackedFormat& format, const std::byte* block, std::byte* out) {
  std::byte* const chunks = out + span_head_bytes(format);
  std::memcpy(chunks, block + format.head_bytes(), kSpanChunks * format.chunk_bytes());
  const auto planes = static_cast<std::size_t>(64 * format.bits);
  Rows<int> largest_s = {};
  Rows<int> largest_n = {};
  for (std::size_t c = 0; c < kSpanChunks; ++c) {
    std::byte* const chunk = chunks + c * format.chunk_bytes();
    for (int sub = 0; sub < format.subs(); ++sub) {
      std::byte* const list = chunk + planes + sub * kGroupRows;
      auto s = load_rows<std::int8_t>(list);
      RUNNEL_EACH_ROW {
        if (is_unsigned(format) && s[r] < 0) {
          negate_row(chunk, r);
          s[r] = static_cast<std::int8_t>(-s[r]);
        }
        largest_s[r] = std::max(largest_s[r], std::abs(s[r]));
      }
      store_rows<std::int8_t>(s, list);
      if (!format.has_minimums) continue;
      const auto n = load_rows<std::int8_t>(list + format.subs() * kGroupRows);
      RUNNEL_EACH_ROW largest_n[r] = std::max(largest_n[r], std::abs(n[r]));
    }
  }
  Rows<float> unit = load_halves(block, false);
  if (format.has_minimums) {
    const Rows<float> m = load_halves(block + 2 * kGroupRows, false);
    RUNNEL_EACH_ROW {
      const auto factors = factors_of(unit[r], m[r], format.bits, largest_s[r], largest_n[r]);
      unit[r] = factors.unit;
      std::memcpy(out + 4 * kGroupRows + 2 * r, &factors.g, 2);
      std::memcpy(out + 4 * kGroupRows + 2 * (kGroupRows + r), &factors.k, 2);
    }
  }
  store_rows<float>(unit, out);
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
    std::byte* const span = out + span_group_bytes_of(format, col);
    if (format.has_scales) {
      put_super_block(format, packed, span);
    } else {
      put_small_blocks(format, packed, static_cast<int>((end - col) / 32), span);
    }
  }
}

}  // namespace runnel::kernels
