// Watches what a stream writes and reads: its likelihood, its entropy, how much attention the sinks
// get, and whether it repeats itself.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runnel/options.h"
#include "serve/guard/loop_detector.h"

namespace runnel::serve {

// What may be wrong with a stream.
enum class Trouble { kLoop, kLikelihood, kEntropy, kSinks };
const char* name_of(Trouble trouble);  // "loop"

// What the guard does about it, besides telling.
enum class GuardAction {
  kTell,
  kStop,     // the answer ends
  kHeat,     // the rest of the answer is sampled with a higher temperature
  kRebuild,  // the cache is made anew from the tokens that the stream still sees
};
std::optional<GuardAction> action_named(std::string_view name);
const char* name_of(GuardAction action);  // "tell"

struct Notice {
  Trouble trouble = Trouble::kLoop;
  GuardAction action = GuardAction::kTell;  // that was taken
  std::string text;
};

struct GuardOptions {
  GuardAction on_loop = GuardAction::kTell;
  GuardAction on_drift = GuardAction::kTell;  // where a measure leaves its bounds
  // Bounds of the running means; none: it is measured and never found wrong.
  std::optional<double> least_log_probability;  // of what it writes
  std::optional<double> least_entropy, most_entropy;
  std::optional<double> least_sink_share;
};

class Guard {
 public:
  struct Measures {  // running means over some hundred tokens; 0 before the first
    double written_log_probability = 0;
    double read_log_probability = 0;  // of every token, or of the first of each chunk
    double entropy = 0;               // nats, of some of the steps
    double sink_share = 0;            // of the attention, sampled
    int loop = 0;                     // tokens of the run that repeats; 0: none
    std::uint64_t loops = 0;          // times that a loop began
    std::uint64_t drifts = 0;         // times that a measure left its bounds
  };

  void wrote(Token token, float log_probability);
  void read(double log_probability) {
    mix(measures_.read_log_probability, log_probability, n_read_, kTokens);
  }
  // The next token to be read, and the logits at its place.
  void will_read(std::span<const float> logits, Token token);
  // The logits that a token comes from; looks at some of them.
  void look(std::span<const float> logits);
  void saw_sink_share(double share) {
    mix(measures_.sink_share, share, n_shares_, kTokens / kLookAtAttentionEvery);
  }

  // What has just become wrong. Each trouble is found once, until it is over.
  std::optional<Trouble> found(const GuardOptions& options);
  // What was seen before counts no more, since something was done about it.
  void begin_anew();

  const Measures& measures() const { return measures_; }

  static constexpr std::uint64_t kLookAtAttentionEvery = 128;  // tokens; the caller keeps to it
  static constexpr std::uint64_t kLeastTokens = 64;            // before a mean is compared

 private:
  static constexpr std::uint64_t kTokens = 256;    // that a running mean remembers
  static constexpr std::uint64_t kLookEvery = 16;  // an entropy costs a pass over the vocabulary

  static void mix(double& mean, double value, std::uint64_t& n, std::uint64_t most);
  bool began(Trouble trouble, bool is_now);

  LoopDetector loop_;
  Measures measures_;
  std::uint64_t n_written_ = 0, n_read_ = 0, n_looked_ = 0, n_entropies_ = 0, n_shares_ = 0;
  std::array<bool, 4> is_known_{};  // by trouble
};

}  // namespace runnel::serve
