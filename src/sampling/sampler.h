// Logits to a token: penalties, then top-k, top-p and min-p on the model's own distribution, then
// temperature. All arithmetic runs on the calling thread in a fixed order and randomness comes from
// one counter, so the same seed gives the same tokens on any number of threads, and a saved counter
// continues the sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runnel/options.h"

namespace runnel {

// Error: an option out of range, named with what was found.
void check_sampling(const SamplingOptions& options);

class Sampler {
 public:
  Sampler(const SamplingOptions& options, int vocabulary_size);

  // `visible`: the tokens that penalties look at; any order. `allowed`: bit (t % 64) of word (t /
  // 64) for each token that may be chosen; empty: all. Not-a-number logits are never chosen. Error:
  // there are no others.
  Token pick(std::span<const float> logits, std::span<const Token> visible,
             std::span<const std::uint64_t> allowed = {});
  bool needs_visible_tokens() const;

  const SamplingOptions& options() const { return options_; }
  void set_options(const SamplingOptions& options);

  // SplitMix64 (Steele, Lea, Flood 2014): its whole state is one number.
  std::uint64_t random_state() const { return random_state_; }
  void set_random_state(std::uint64_t state) { random_state_ = state; }
  double
  uniform();  // [0, 1): the next random number, of which pick() takes one unless it is greedy

 private:
  struct Candidate {
    float logit;
    Token token;
  };
  void collect(std::span<const float> logits, std::span<const Token> visible,
               std::span<const std::uint64_t> allowed, std::size_t n);
  float penalized(float logit, int count) const;
  static bool is_likelier(const Candidate& a, const Candidate& b);
  void sort_first(std::size_t n);
  void keep_top_p(float largest);
  void keep_min_p(float largest);
  Token draw(float largest);

  SamplingOptions options_;
  std::uint64_t random_state_;
  std::vector<Candidate> candidates_;  // those that are left
  std::size_t n_sorted_ = 0;           // of them, at the front
  std::vector<int> counts_;            // of each token among the visible ones; all 0 between calls
};

}  // namespace runnel
