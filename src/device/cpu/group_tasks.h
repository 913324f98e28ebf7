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
// tasks of a multiple of `unit` groups: long streams of memory for a few tokens; for many some
// tasks for each thread, so that all end together whatever each was kept from, and pairs of groups,
// which a matrix unit takes together.
template <typename Run>
void CpuOperations::run_groups(std::int64_t n, std::int64_t unit, std::int64_t group_bytes,
                               int n_tokens, Run run) {
  constexpr std::int64_t kMostTasks = 1024;
  constexpr std::int64_t kSmallestTaskBytes = 16 << 10;  // some 1 us
  const auto up = [](std::int64_t x, std::int64_t y) { return (x + y - 1) / y; };
  const std::int64_t n_units = up(n, unit);
  const std::int64_t of_pair = up(2, unit);
  const std::int64_t of_task =
      n_tokens < kManyTokens
          ? std::max(kSmallestTaskBytes / (unit * group_bytes) + 1, up(n_units, kMostTasks))
          : up(up(n_units, 16 * threads_.size()), of_pair) * of_pair;
  threads_.run_ranges(static_cast<int>(up(n_units, of_task)), [&](int first, int end, int thread) {
    run(first * of_task * unit, std::min(n, end * of_task * unit), thread);
  });
}

}  // namespace runnel::cpu
