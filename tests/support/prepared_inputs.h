// Inputs of a product as a table of kernels wants them, and what numbers they stand for.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/cache_line.h"
#include "base/half.h"
#include "kernels/kernels.h"

namespace runnel::test {

class PreparedInputs {
 public:
  // x [n_tokens, cols]
  PreparedInputs(const kernels::Table& table, const float* x, int n_tokens, std::int64_t cols)
      : table_(table),
        n_tokens_(n_tokens),
        cols_(cols),
        lines_(cache_lines(
            static_cast<std::size_t>(n_tokens * ((cols + 31) / 32) * table.input_chunk_bytes))) {
    for (int t = 0; t < n_tokens; ++t) {
      table.prepare_row(x + t * cols, cols, t, n_tokens, lines_.front().bytes);
    }
  }

  const std::byte* data() const { return lines_.front().bytes; }
  bool is_int8() const { return table_.input_chunk_bytes == sizeof(kernels::InputChunk); }

  const kernels::InputChunk& int8_chunk(int token, std::int64_t col) const {
    return *reinterpret_cast<const kernels::InputChunk*>(chunk(token, col));
  }
  double number(int token, std::int64_t col) const {
    if (is_int8()) {
      const kernels::InputChunk& c = int8_chunk(token, col);
      return c.q[col % 32] * static_cast<double>(c.scale);
    }
    std::uint16_t bits;
    std::memcpy(&bits, chunk(token, col) + col % 32 * 2, 2);
    return static_cast<double>(bf16_to_f32(bits));
  }
  // A weight as these inputs meet it.
  double weight(float w) const {
    return static_cast<double>(is_int8() ? w : bf16_to_f32(f32_to_bf16(w)));
  }

 private:
  const std::byte* chunk(int token, std::int64_t col) const {
    const int group = is_int8() ? kernels::kInputGroup : 16;
    const kernels::InputPlace place = kernels::input_place(token, n_tokens_, cols_, group);
    return data() + (place.first + col / 32 * place.stride) * table_.input_chunk_bytes;
  }

  const kernels::Table& table_;
  int n_tokens_;
  std::int64_t cols_;
  std::vector<CacheLine> lines_;
};

}  // namespace runnel::test
