// How many tokens a step may read while other streams wait to write: learnt from how long the steps
// took. A step of a machine that others use too may take twice what the one before took, so that a
// part of the bound is aimed at, and what was slow is remembered longer than what was fast.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace runnel::serve {

class Pace {
 public:
  using Seconds = std::chrono::duration<double>;

  // `bound`: how long a writer waits for its step at most.
  explicit Pace(Seconds bound) : bound_(bound) {}

  // At least one, so that reading always goes on; where nobody waits, steps may take longer, since
  // larger ones read faster.
  std::int64_t n_to_read(bool has_writers, std::int64_t most) const {
    if (seconds_per_token_ <= 0) return std::min(most, kFirst);
    const double share = has_writers ? kShareWithWriters : kShareAlone;
    const double n = bound_.count() * share / seconds_per_token_;
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(n), 1, std::min(most, 2 * largest_));
  }

  // A step that read n tokens (others may have written in it) took so long.
  void learn(std::int64_t n, Seconds took) {
    if (n <= 0) return;
    const double found = took.count() / static_cast<double>(n);
    const double weight = found > seconds_per_token_ ? kWeightOfSlow : kWeightOfFast;
    seconds_per_token_ = seconds_per_token_ <= 0
                             ? found
                             : seconds_per_token_ + weight * (found - seconds_per_token_);
    largest_ = std::max(largest_, n);
  }

 private:
  static constexpr std::int64_t kFirst = 16;
  static constexpr double kShareWithWriters = 0.3;  // of the bound
  static constexpr double kShareAlone = 2;
  static constexpr double kWeightOfSlow = 0.7;
  static constexpr double kWeightOfFast = 0.1;

  Seconds bound_;
  double seconds_per_token_ = 0;
  std::int64_t largest_ = kFirst;  // tokens read in a step so far
};

}  // namespace runnel::serve
