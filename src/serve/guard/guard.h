// Watches what a stream writes and reads: its likelihood, its entropy, and whether it repeats
// itself.
#pragma once

#include <cstdint>
#include <span>

#include "runnel/options.h"
#include "serve/guard/loop_detector.h"

namespace runnel::serve {

class Guard {
 public:
  struct Measures {  // running means over some hundred tokens; 0 before the first
    double written_log_probability = 0;
    double read_log_probability = 0;  // of every token, or of the first of each chunk
    double entropy = 0;               // nats, of some of the steps
    double sink_share = 0;            // of the attention, sampled
    int loop = 0;                     // tokens of the run that repeats; 0: none
    std::uint64_t loops = 0;          // times that a loop began
  };

  // True when a loop has just begun.
  bool wrote(Token token, float log_probability);
  void read(double log_probability) {
    mix(measures_.read_log_probability, log_probability, n_read_);
  }
  // The next token to be read, and the logits at its place.
  void will_read(std::span<const float> logits, Token token);
  // The logits that a token comes from; looks at some of them.
  void look(std::span<const float> logits);
  void saw_sink_share(double share) { mix(measures_.sink_share, share, n_shares_); }
  void forget_loop() {
    loop_.reset();
    measures_.loop = 0;
  }

  const Measures& measures() const { return measures_; }

 private:
  static void mix(double& mean, double value, std::uint64_t& n);

  LoopDetector loop_;
  Measures measures_;
  std::uint64_t n_written_ = 0, n_read_ = 0, n_looked_ = 0, n_entropies_ = 0, n_shares_ = 0;
};

}  // namespace runnel::serve
