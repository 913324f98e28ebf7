// What one stream is to do: read tokens, write tokens, end. The scheduler asks for a wish before
// every step and reports what came of it. All calls are made on the scheduler's thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runnel/runnel.h"

namespace runnel::serve {

struct Wish {
  enum class Kind { kRead, kWrite, kEnd } kind = Kind::kEnd;
  std::span<const Token> tokens;  // to be read, as many of the first as there is time for; valid
                                  // until the run is asked again
  bool is_scored = false;         // how likely each of them was is told, which takes longer
};

class Run {
 public:
  virtual ~Run() = default;
  virtual Stream& stream() = 0;  // the same from the first wish to the end; no other run has it
  virtual Wish wish() = 0;
  virtual void read(std::size_t n_tokens) = 0;  // the first n of the wish's tokens were read
  // Before that, where it was wished: the log probability of each; of a stream's very first token
  // there is none.
  virtual void scored(std::span<const float> log_probabilities) { (void)log_probabilities; }
  virtual void will_step() {}  // the logits are those that the next token comes from, or is read at
  virtual void wrote(const Stream::Step& step) = 0;
  // The run has ended, by its own wish (empty) or because its step could not be made.
  virtual void ended(const std::string& failure) = 0;
};

}  // namespace runnel::serve
