// How groups of rows of weights become tasks. Included by the operations' files alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "device/cpu/cpu_operations.h"

namespace runnel::cpu {

inline constexpr int kManyTokens = 64;  // so many are arithmetic, fewer read weights

// Bytes of a group of rows, as stored.
inline std::int64_t group_bytes(const kernels::Matrix& w) {
  return static_cast<std::int64_t>(w.row_bytes()) * kernels::kGroupRows;
}

// run(first, last, thread) for n groups of rows of weights, of `group_bytes` each, in parallel
// tasks of a multiple of `unit` groups: long streams of memory for a few tokens; for many a few
// equal tasks, for each reads all inputs.
template <typename Run>
void CpuOperations::run_groups(std::int64_t n, std::int64_t unit, std::int64_t group_bytes,
                               int n_tokens, Run run) {
  constexpr std::int64_t kSmallestTaskBytes = 16 << 10;  // some 1 us
  const std::int64_t most_tasks = n_tokens < kManyTokens ? 1024 : 4 * threads_.size();
  const std::int64_t n_units = (n + unit - 1) / unit;
  const std::int64_t of_task = std::max(kSmallestTaskBytes / (unit * group_bytes) + 1,
                                        (n_units + most_tasks - 1) / most_tasks);
  threads_.run_ranges(static_cast<int>((n_units + of_task - 1) / of_task),
                      [&](int first, int end, int thread) {
                        run(first * of_task * unit, std::min(n, end * of_task * unit), thread);
                      });
}

}  // namespace runnel::cpu
