// The tokens a stream still sees: the sinks and the window, as ids.
#pragma once

#include <cstdint>
#include <vector>

#include "runnel/options.h"
#include "stream/policy.h"

namespace runnel {

class TokenHistory {
 public:
  explicit TokenHistory(const CachePolicy& policy) : policy_(policy) {}

  std::int64_t position() const { return position_; }

  void push(Token token) {
    if (position_ < policy_.sinks) {
      sinks_.push_back(token);
    } else if (static_cast<std::int64_t>(ring_.size()) < policy_.window) {
      ring_.push_back(token);
    } else if (policy_.window > 0) {
      ring_[static_cast<std::size_t>((position_ - policy_.sinks) % policy_.window)] = token;
    }
    ++position_;
  }

  // Sinks, then window, in order of position. Before eviction that is the whole stream.
  void visible(std::vector<Token>& out) const {
    out.assign(sinks_.begin(), sinks_.end());
    const auto n = static_cast<std::int64_t>(ring_.size());
    const std::int64_t oldest =
        n < policy_.window || n == 0 ? 0 : (position_ - policy_.sinks) % policy_.window;
    out.insert(out.end(), ring_.begin() + oldest, ring_.end());
    out.insert(out.end(), ring_.begin(), ring_.begin() + oldest);
  }

  // Rebuilds the state that a stream of `position` tokens with these visible ones has.
  static TokenHistory restore(const CachePolicy& policy, const std::vector<Token>& visible,
                              std::int64_t position) {
    TokenHistory history(policy);
    for (const Token token : visible) history.push(token);
    if (history.position_ < position &&
        policy.window > 0) {  // rotate the ring to where the stream has come
      const auto shift = (position - policy.sinks) % policy.window;
      std::vector<Token> ring(history.ring_.size());
      for (std::size_t i = 0; i < ring.size(); ++i) {
        ring[(i + static_cast<std::size_t>(shift)) % ring.size()] = history.ring_[i];
      }
      history.ring_ = std::move(ring);
    }
    history.position_ = position;
    return history;
  }

 private:
  CachePolicy policy_;
  std::int64_t position_ = 0;
  std::vector<Token> sinks_;
  std::vector<Token> ring_;
};

}  // namespace runnel
