// How many tokens a step may read while other streams wait to write: learnt from how long the steps
// took. A step of a machine that others use too may take several times what the one before took, so
// that a part of the bound is aimed at, and the slowest of the last steps is what counts.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace runnel::serve {

// The largest of the last values; 0 before the first.
class SlowestOfLast {
 public:
  void add(double value) { values_[n_++ % values_.size()] = value; }
  double value() const { return *std::max_element(values_.begin(), values_.end()); }

 private:
  std::array<double, 32> values_ = {};
  std::size_t n_ = 0;
};

class Pace {
 public:
  using Seconds = std::chrono::duration<double>;
  enum class Kind { kPlain, kScored };  // scored: each token wants the output matrix

  // `bound`: how long a writer waits for its next token at most.
  explicit Pace(Seconds bound) : bound_(bound) {}

  // Time for what all readers of a step read, where writers get a token every n_turns steps. Where
  // nobody waits, steps take as long as the bound: larger ones read faster.
  Seconds budget(bool has_writers, std::int64_t n_turns = 1) const {
    if (!has_writers) return bound_;
    const double writing = writing_.value();
    const double all = bound_.count() * kShare / static_cast<double>(n_turns);
    return Seconds(std::max(all - writing, writing * kLeastOfWriting));
  }

  // Tokens that pass in so much of the budget; at least one, so that reading always goes on.
  std::int64_t n_to_read(Kind kind, Seconds time, std::int64_t most) const {
    const Cost& cost = costs_[static_cast<std::size_t>(kind)];
    const double seconds_per_token = cost.slowest.value();
    if (seconds_per_token <= 0) return std::min(most, kFirst);
    const auto n = static_cast<std::int64_t>(time.count() / seconds_per_token);
    return std::clamp<std::int64_t>(n, 1, std::min(most, 2 * cost.largest));
  }
  Seconds time_of(Kind kind, std::int64_t n) const {
    return Seconds(costs_[static_cast<std::size_t>(kind)].slowest.value() * static_cast<double>(n));
  }

  // A step in which writers alone took part took so long.
  void learn_writing(Seconds took) { writing_.add(took.count()); }
  // Reading n tokens, beside writers or not, took so long.
  void learn(Kind kind, std::int64_t n, bool has_writers, Seconds took) {
    if (n <= 0) return;
    Cost& cost = costs_[static_cast<std::size_t>(kind)];
    const double writing = has_writers ? writing_.value() : 0;
    const double reading = std::max(took.count() - writing, took.count() * kLeastOfStep);
    cost.slowest.add(reading / static_cast<double>(n));
    cost.largest = std::max(cost.largest, n);
  }

 private:
  static constexpr std::int64_t kFirst = 1;
  static constexpr double kShare = 0.3;            // of the bound, where somebody waits
  static constexpr double kLeastOfWriting = 0.25;  // where the writers alone take all of it
  static constexpr double kLeastOfStep = 0.16;     // of its time, is taken for reading

  struct Cost {
    SlowestOfLast slowest;          // seconds for a token
    std::int64_t largest = kFirst;  // tokens read in a step so far
  };

  Seconds bound_;
  SlowestOfLast writing_;  // seconds of a step
  std::array<Cost, 2> costs_;
};

}  // namespace runnel::serve
