// Inputs of a product as a table of kernels wants them, and what numbers they stand for.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/cache_line.h"
#include "kernels/kernels.h"
#include "kernels/pack/spans.h"

namespace runnel::test {

inline bool is_in_spans(const kernels::Table& table) {
  return table.packed_bytes(TensorType::kQ4_0, kernels::kSpan) ==
         kernels::span_group_bytes(TensorType::kQ4_0, kernels::kSpan);
}

class PreparedInputs {
 public:
  // x [n_tokens, cols]
  PreparedInputs(const kernels::Table& table, const float* x, int n_tokens, std::int64_t cols)
      : table_(table),
        n_tokens_(n_tokens),
        cols_(cols),
        lines_(cache_lines(table.input_bytes(cols, n_tokens))) {
    for (int t = 0; t < n_tokens; ++t) {
      // In two parts, where there are two.
      const std::int64_t half = cols / 2 / table.input_columns * table.input_columns;
      for (const auto& [first, last] : {std::pair(half, cols), std::pair(std::int64_t{0}, half)})
        table.prepare(kernels::kInt8Inputs | kernels::kBfloatInputs, x + t * cols, cols, first,
                      last, t, n_tokens, lines_.front().bytes);
    }
  }

  std::byte* data() { return lines_.front().bytes; }
  const std::byte* data() const { return lines_.front().bytes; }
  bool is_in_spans() const { return test::is_in_spans(table_); }

  // What is not in spans.
  const kernels::InputChunk& chunk(int token, std::int64_t col) const {
    const kernels::InputPlace place = kernels::input_place(token, n_tokens_, cols_);
    return reinterpret_cast<const kernels::InputChunk*>(
        data())[place.first + col / 32 * place.stride];
  }
  int whole(int token, std::int64_t col) const {
    if (!is_in_spans()) return chunk(token, col).q[col % 32];
    const auto digit = [&](const kernels::SpanInputs<const std::byte>& digits) {
      const std::byte* q =
          digits.q(col / kernels::kSpan, static_cast<int>(col % kernels::kSpan / 64), token);
      return static_cast<std::int8_t>(q[col % 64]);
    };
    return digit(spans()) + kernels::kHighDigit * digit(spans().high());
  }
  float scale(int token, std::int64_t col) const {
    return is_in_spans() ? *spans().scale(col / kernels::kSpan, token) : chunk(token, col).scale;
  }
  // The sum of the 16 whole numbers from a multiple of 16.
  int half_sum(int token, std::int64_t col) const {
    if (!is_in_spans()) return chunk(token, col).half_sum(col / 16 % 2);
    const auto sum = [&](const kernels::SpanInputs<const std::byte>& digits) {
      return digits.sums(col / kernels::kSpan, token)[col % kernels::kSpan / 16];
    };
    return sum(spans()) + kernels::kHighDigit * sum(spans().high());
  }
  double number(int token, std::int64_t col) const {
    return whole(token, col) * static_cast<double>(scale(token, col));
  }

 private:
  kernels::SpanInputs<const std::byte> spans() const {
    return {data(), n_tokens_, kernels::n_spans(cols_)};
  }

  const kernels::Table& table_;
  int n_tokens_;
  std::int64_t cols_;
  std::vector<CacheLine> lines_;
};

}  // namespace runnel::test
