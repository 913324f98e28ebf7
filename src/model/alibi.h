// Attention with linear biases (arXiv 2108.12409): a head's scores fall by its slope with every
// position of distance.
#pragma once

#include <bit>
#include <cmath>
#include <vector>

namespace runnel {

// Slopes of a geometric series from 2^(-max_bias / n); for a number of heads that is no power of
// two, the rest take every other slope of the series of twice as many heads.
inline std::vector<float> alibi_slopes(int n_heads, float max_bias) {
  const auto n = static_cast<float>(std::bit_floor(static_cast<unsigned>(n_heads)));
  const float ratio = std::exp2(-max_bias / n);
  const float finer_ratio = std::exp2(-max_bias / 2 / n);
  std::vector<float> slopes;
  for (int head = 0; head < n_heads; ++head) {
    const auto h = static_cast<float>(head);
    slopes.push_back(h < n ? std::pow(ratio, h + 1) : std::pow(finer_ratio, 2 * (h - n) + 1));
  }
  return slopes;
}

}  // namespace runnel
