// The last tokens of a stream: its window, and a few that have just left it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runnel/options.h"

namespace runnel::serve {

class RecentTokens {
 public:
  static constexpr std::int64_t kBehindWindow = 64;

  RecentTokens() = default;
  explicit RecentTokens(std::int64_t window)
      : ring_(static_cast<std::size_t>(window + kBehindWindow)) {}

  void push(std::span<const Token> tokens) {
    if (ring_.empty()) return;
    for (const Token token : tokens) {
      ring_[n_pushed_ % ring_.size()] = token;
      ++n_pushed_;
    }
  }

  // Up to n tokens before the last `n_after`, in order; fewer where they are not known.
  std::vector<Token> before_last(std::int64_t n_after, std::int64_t n) const {
    const auto known = static_cast<std::int64_t>(std::min(n_pushed_, ring_.size()));
    std::vector<Token> tokens;
    for (std::int64_t back = std::min(n_after + n, known); back > n_after; --back)
      tokens.push_back(ring_[(n_pushed_ - static_cast<std::size_t>(back)) % ring_.size()]);
    return tokens;
  }

 private:
  std::vector<Token> ring_;
  std::size_t n_pushed_ = 0;
};

}  // namespace runnel::serve
