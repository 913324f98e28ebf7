// Where the time of steps goes, by parts of a layer: laps of one clock, in the order in which the
// parts end. Waiting for the slowest thread belongs to the part that waits.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace runnel {

enum class StepPart {
  kOutside,  // of the operations: the plan of a step, sampling, text
  kEmbed,
  kNorm,
  kInputs,  // of products, as the kernels want them
  kProject,
  kRotate,  // and what is written to the cache
  kAttend,
  kAttendOutput,
  kRecur,  // layers that keep a state instead of keys
  kFfnIn,  // gate, up and the activation
  kFfnOut,
  kExperts,  // choosing them, and adding them up
  kResidual,
  kLogits,
};
inline constexpr std::size_t kStepParts = 14;

class StepTimes {
 public:
  using Clock = std::chrono::steady_clock;

  // What has passed since the last lap belongs to `part`.
  void lap(StepPart part) {
    const Clock::time_point now = Clock::now();
    seconds_[static_cast<std::size_t>(part)] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  // Rows of logits: tokens whose products with the vocabulary were computed.
  void count_logits(std::size_t n_rows) { n_logits_ += n_rows; }
  std::size_t n_logits() const { return n_logits_; }
  double seconds(StepPart part) const { return seconds_[static_cast<std::size_t>(part)]; }

 private:
  std::array<double, kStepParts> seconds_ = {};
  std::size_t n_logits_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace runnel
