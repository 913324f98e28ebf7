// All streams of a model take their steps on one thread, many in one step of the model. Streams
// that read take a chunk, streams that write take a token; how much is read in a step is bounded by
// time, so that no writer waits longer than a bound. A stream gets exactly the tokens that it gets
// alone.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "serve/scheduler/pace.h"
#include "serve/scheduler/run.h"

namespace runnel::serve {

struct SchedulerOptions {
  std::chrono::milliseconds longest_wait{200};  // of a writer for its next token
  int most_together = 64;                       // streams in one step; more take turns
};

class Scheduler {
 public:
  struct Counters {  // since the start
    std::uint64_t steps = 0;
    std::uint64_t tokens_read = 0;
    std::uint64_t tokens_written = 0;
    std::uint64_t running = 0;        // runs at the moment
    double longest_step_seconds = 0;  // of those in which somebody wrote
  };

  explicit Scheduler(const SchedulerOptions& options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs `work` on the scheduler's thread, between two steps, in the order of calls. From any
  // thread. What work throws is logged. False: the scheduler has stopped, and will not do it.
  bool post(std::function<void()> work);
  // Starts the thread; `tick` is called on it about once a second. Work posted before is done then.
  void begin(std::function<void()> tick);
  // From the scheduler's thread: the run takes part from the next step on.
  void start(std::shared_ptr<Run> run);
  // Finishes the work that was posted before, and the step at hand; runs stay where they are.
  void stop();

  Counters counters() const;

 private:
  struct Part {  // of a step
    Run* run;
    Wish wish;
  };
  void loop();
  bool do_posted();  // false: stop
  void drop_ended();
  std::vector<Part> plan();
  void step(const std::vector<Part>& parts);
  void step_alone(const Part& part);
  void score(const Part& part);
  void report(const Part& part, const Stream::Step& step);
  void fail(Run* run, const std::string& why);

  SchedulerOptions options_;
  std::function<void()> tick_;
  std::deque<std::shared_ptr<Run>> runs_;  // the first one's turn is next
  Pace pace_;

  mutable std::mutex mutex_;
  std::condition_variable has_work_;
  std::deque<std::function<void()>> posted_;
  bool stopping_ = false;
  Counters counters_;
  std::thread thread_;
};

}  // namespace runnel::serve
