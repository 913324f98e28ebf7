// Guesses at what comes next, from the stream's own recent tokens: where the last few stood before,
// what followed them then may follow now (prompt lookup). A guess costs little to check, because a
// chunk passes the model almost as fast as a token, and nothing to be wrong about, because a chunk
// gives the bits that single steps give.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "runnel/options.h"

namespace runnel {

// The tokens that followed the latest earlier place where the last `pattern` tokens of `seen`
// stood, at most `most`.
inline std::span<const Token> look_up(std::span<const Token> seen, std::size_t pattern,
                                      std::size_t most) {
  if (seen.size() <= pattern) return {};
  const std::span<const Token> last = seen.last(pattern);
  for (std::size_t at = seen.size() - pattern; at-- > 0;) {
    if (!std::equal(last.begin(), last.end(), seen.begin() + static_cast<std::ptrdiff_t>(at)))
      continue;
    const std::size_t next = at + pattern;
    return seen.subspan(next, std::min(most, seen.size() - next));
  }
  return {};
}

// How many tokens to guess: as many as were right lately, twice as many when all of them were.
// Where none are, no guesses for a while, twice as long each time, so that they cost next to
// nothing.
class DraftLength {
 public:
  explicit DraftLength(int most) : most_(most), length_(most) {}

  // For the next token, which is asked for once.
  int take() { return resting_ > 0 ? (--resting_, 0) : length_; }
  void learn(int n_guessed, int n_right) {
    const bool all_right = n_right == n_guessed;
    length_ = all_right ? std::min(most_, 2 * length_) : std::max(1, (length_ + n_right) / 2);
    rest_ = n_right > 0 ? 0 : std::min(kLongestRest, 2 * rest_ + 1);
    resting_ = rest_;
  }

 private:
  static constexpr int kLongestRest = 31;  // tokens

  int most_;
  int length_;
  int rest_ = 0;
  int resting_ = 0;  // tokens left of it
};

}  // namespace runnel
