// How many tokens a second, of late.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>

namespace runnel::serve {

// A mean whose weights fade over some seconds. A pause longer than that begins it anew, so that it
// tells how fast a stream works and not how often it is asked.
class Speed {
 public:
  using Clock = std::chrono::steady_clock;

  void add(std::int64_t n_tokens, Clock::time_point now = Clock::now()) {
    const double passed = std::chrono::duration<double>(now - last_).count();
    if (n_added_ == 0 || passed > kForgetSeconds) {
      *this = {};
      begin_ = now;
    } else {
      sum_ *= std::exp(-passed / kFadeSeconds);
      sum_ += static_cast<double>(n_tokens);  // the first ones took a time that nobody measured
    }
    n_added_ += n_tokens;
    last_ = now;
  }

  // Since the last tokens came; 0: too few to tell, or none for a while.
  double per_second(Clock::time_point now = Clock::now()) const {
    const double spent = std::chrono::duration<double>(last_ - begin_).count();
    if (n_added_ == 0 || spent <= 0 || now - last_ > std::chrono::duration<double>(kForgetSeconds))
      return 0;
    return sum_ / (kFadeSeconds * (1 - std::exp(-spent / kFadeSeconds)));
  }

 private:
  static constexpr double kFadeSeconds = 3;
  static constexpr double kForgetSeconds = 3;

  double sum_ = 0;
  std::int64_t n_added_ = 0;
  Clock::time_point begin_, last_;
};

}  // namespace runnel::serve
