// Tells when a stream repeats itself: when its last tokens are some short run of tokens, again and
// again. Looks at each token once, against the tokens at each distance before it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "runnel/options.h"

namespace runnel::serve {

class LoopDetector {
 public:
  static constexpr int kLongest = 64;      // tokens of the run that repeats
  static constexpr int kRepeats = 6;       // of it, before it counts as a loop
  static constexpr int kLeastTokens = 48;  // that repeat, however short the run

  // The length of the run that the stream now repeats; 0: none.
  int push(Token token) {
    int found = 0;
    for (int distance = 1; distance <= kLongest; ++distance) {
      const auto d = static_cast<std::size_t>(distance);
      const bool repeats = n_seen_ >= d && recent_[(n_seen_ - d) % recent_.size()] == token;
      matched_[d - 1] = repeats ? matched_[d - 1] + 1 : 0;
      const int wanted = distance * (kRepeats - 1);
      if (found == 0 && matched_[d - 1] >= wanted && matched_[d - 1] >= kLeastTokens)
        found = distance;
    }
    recent_[n_seen_++ % recent_.size()] = token;
    return found;
  }
  void reset() { *this = {}; }

 private:
  std::array<Token, kLongest> recent_{};
  std::array<int, kLongest> matched_{};  // tokens in a row that equal those at this distance
  std::uint64_t n_seen_ = 0;
};

}  // namespace runnel::serve
