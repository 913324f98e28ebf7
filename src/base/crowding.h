// How many threads gain where other programs want the cores too. A job ends with its last task; a
// thread that lost its core with a task in its hands comes back some milliseconds later, and all
// others wait for it. Where that takes more time than the thread is worth, one less is faster.
#pragma once

#include <chrono>

namespace runnel {

class Crowding {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kWatched{50};     // so long waits add up
  static constexpr std::chrono::milliseconds kShortRest{100};  // before one more is tried again,
  static constexpr std::chrono::milliseconds kLongRest{800};   // doubled to this if it does no good

  explicit Crowding(int n_threads) : n_threads_(n_threads), n_active_(n_threads) {}

  int n_active() const { return n_active_; }
  bool is_crowded() const { return n_active_ < n_threads_; }
  // A job ended after a wait, with nothing left to do but for others.
  void waited(Time begin, Time end);
  // While it is crowded, now and then.
  void look_again(Time now);

 private:
  const int n_threads_;
  int n_active_;
  Time watched_from_{};
  std::chrono::nanoseconds waited_{0};  // since then
  std::chrono::milliseconds rest_{kShortRest};
  Time retry_{};
};

}  // namespace runnel
