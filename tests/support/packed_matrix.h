// A whole matrix as a table of kernels wants it packed.
#pragma once

#include <cstddef>
#include <vector>

#include "base/cache_line.h"
#include "kernels/kernels.h"

namespace runnel::test {

// 0 where the table takes such weights as they are stored.
inline std::size_t packed_bytes(const kernels::Table& table, const kernels::Matrix& w) {
  return static_cast<std::size_t>(kernels::n_groups(w.rows)) * table.packed_bytes(w.type, w.cols);
}

// `w` afterwards has them at `out`, of packed_bytes() > 0.
inline void pack_into(const kernels::Table& table, kernels::Matrix& w, std::byte* out) {
  w.packed = out;
  for (std::int64_t row = 0; row < w.rows; row += kernels::kGroupRows) {
    table.pack(w.type, w.data, w.rows, w.cols, row, out);
    out += table.packed_bytes(w.type, w.cols);
  }
}

// The matrix, and what it became.
class PackedMatrix {
 public:
  PackedMatrix(const kernels::Table& table, const kernels::Matrix& w) : matrix_(w) {
    const std::size_t n_bytes = packed_bytes(table, w);
    if (n_bytes == 0) return;
    lines_ = cache_lines(n_bytes);
    pack_into(table, matrix_, lines_.front().bytes);
  }
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;
  const kernels::Matrix& matrix() const { return matrix_; }

 private:
  kernels::Matrix matrix_;
  std::vector<CacheLine> lines_;
};

}  // namespace runnel::test
