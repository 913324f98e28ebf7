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

// How many tokens to guess: more while guesses hold, fewer while they fail.
class DraftLength {
 public:
  explicit DraftLength(int most) : most_(most), length_(most) {}

  int length() const { return length_; }
  void learn(int n_guessed, int n_right) {
    if (n_right == n_guessed) length_ = std::min(most_, 2 * length_);
    if (n_right == 0) length_ = std::max(std::min(most_, 1), length_ / 2);
  }

 private:
  int most_;
  int length_;
};

}  // namespace runnel
