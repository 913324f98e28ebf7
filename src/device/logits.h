// A row of logits where they were made, and the token that a stream takes from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runnel/options.h"
#include "sampling/sampler.h"

namespace runnel {

// Room for the logits [vocabulary] of one row on a device.
class LogitsRow {
 public:
  virtual ~LogitsRow() = default;
  // Here; valid until the row changes.
  virtual std::span<const float> read() = 0;
  virtual void write(std::span<const float> logits) = 0;
};

// What is asked of a row of logits: a token by the sampler's options and random state, which moves
// on, or what is known of one that was chosen already.
struct Choice {
  LogitsRow* logits = nullptr;  // of the device that is asked
  Sampler* sampler = nullptr;   // null: `token` was chosen
  Token token = -1;
  std::size_t n_writable = 0;              // the first tokens, that may be chosen
  std::span<const Token> visible;          // for the sampler's penalties
  std::span<const std::uint64_t> allowed;  // as Sampler::pick has it
};

struct Chosen {
  Token token = -1;
  float logit = 0;
  float log_sum = 0;  // of all logits: log(sum(exp(x)))
};

}  // namespace runnel
