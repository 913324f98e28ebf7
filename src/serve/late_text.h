// A text that takes long to make and is made once, by a thread of its own, when it is first asked
// for.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace runnel::serve {

class LateText {
 public:
  using Answer = std::function<void(const std::string&)>;  // empty: it is not known yet, or never
  // `make` may throw, and should soon where it finds that nobody wants it any more.
  using Make = std::function<std::string(const std::atomic<bool>& is_unwanted)>;

  // Nobody waits for it longer than `patience`.
  LateText(Make make, std::chrono::milliseconds patience);
  ~LateText();
  LateText(const LateText&) = delete;
  LateText& operator=(const LateText&) = delete;

  // From any thread; answers at once or from another thread.
  void ask(Answer answer);

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    Clock::time_point until;
    Answer answer;
  };
  void make_it();
  void answer_them();

  Make make_;
  std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::string> text_;
  std::deque<Waiting> waiting_;  // in the order of their ends
  std::atomic<bool> is_stopping_{false};
  std::thread maker_, answerer_;  // begun with the first who asks
};

}  // namespace runnel::serve
