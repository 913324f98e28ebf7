// A few threads that run numbered tasks of one function at a time. Each thread has tasks of its own
// and takes them in order, many at first and in the end one by one; then it takes the last ones of
// others. So memory that follows the tasks' numbers is read in a long stream by each thread, all
// end together, and a thread that lost its core delays little; where that happens again and again,
// fewer take part for a while (crowding.h). Waiting threads spin for a moment and then sleep, so a
// shared machine is not burnt. Which thread runs which task never changes a
// result: tasks write to places of their own.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/crowding.h"

namespace runnel {

class ThreadPool {
 public:
  // `n_threads` counts the calling thread; 0: one for each fast core this process may use,
  // and no more than its groups are granted (base/cores.h). Error: the system gives no more
  // threads.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(shares_.size()); }
  // From now on a job that waits does so for a thread that computes, not for a disk, and threads
  // may be left out.
  void watch_crowding() { watches_crowding_ = true; }
  // Threads that take part at present: fewer than all where other programs crowd the cores.
  int active() const { return n_active_.load(std::memory_order_relaxed); }

  // Calls task(index, thread) for index in [0, n_tasks), thread in [0, size()); returns when all
  // are done. One caller at a time. Tasks throw nothing.
  template <typename Task>
  void run(int n_tasks, Task&& task) {
    run_ranges(n_tasks, [&task](int first, int end, int thread) {
      for (int index = first; index < end; ++index) task(index, thread);
    });
  }

  // The same, with the tasks [first, end) that a thread took together: task(first, end, thread).
  template <typename Task>
  void run_ranges(int n_tasks, Task&& task) {
    if (n_tasks == 1) return task(0, 1, 0);
    using Body = std::remove_reference_t<Task>;
    const auto call = [](void* body, int first, int end, int thread) {
      (*static_cast<Body*>(body))(first, end, thread);
    };
    void* body = const_cast<void*>(static_cast<const void*>(&task));
    for (int first = 0; first < n_tasks; first += kMostTasks)
      run_job({call, body, first, std::min(n_tasks - first, kMostTasks)});
  }

 private:
  static constexpr int kMostTasks = 0xffff;  // of a job: as a Share can number
  struct Job {
    void (*call)(void* body, int first, int end, int thread) = nullptr;
    void* body = nullptr;
    int first = 0;
    int n_tasks = 0;
  };
  // A thread's tasks that nobody took yet: number of the job (32 bits), first (16), end (16). Who
  // took a task may read job_: the next job is not written before all tasks are reported as done.
  struct alignas(64) Share {  // and what else threads wait on: in cache lines apart
    std::atomic<std::uint64_t> left{0};
  };
  using Clock = std::chrono::steady_clock;
  void run_job(const Job& job);
  void wait_for_others();
  void take_tasks(int thread);
  void work(int thread);
  void stop();

  std::vector<Share> shares_;  // one for each thread
  bool watches_crowding_ = false;
  Crowding crowding_;  // of whoever calls run()
  Job job_;
  std::atomic<int> n_active_;
  alignas(64) std::atomic<int> unfinished_{0};
  alignas(64) std::atomic<std::uint32_t> wake_{0};  // what sleeping workers wait on
  std::atomic<bool> stopping_{false};
  std::vector<std::jthread> workers_;
};

}  // namespace runnel
