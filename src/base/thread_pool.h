// A few threads that run numbered tasks of one function at a time. Waiting threads spin for a
// moment and then sleep, so a shared machine is not burnt; tasks are handed out one by one, so a
// thread that lost its core delays one task only. Which thread runs which task never changes a
// result: tasks write to places of their own.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace runnel {

class ThreadPool {
 public:
  explicit ThreadPool(
      int n_threads);  // counts the calling thread; 0: one for each core this process may use
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(index, thread) for index in [0, n_tasks), thread in [0, size()); returns when all
  // are done. At most 65,535 tasks, one caller at a time. Tasks throw nothing.
  template <typename Task>
  void run(int n_tasks, Task&& task) {
    using Body = std::remove_reference_t<Task>;
    run_job({[](void* body, int index, int thread) { (*static_cast<Body*>(body))(index, thread); },
             const_cast<void*>(static_cast<const void*>(&task)), n_tasks});
  }

 private:
  struct Job {
    void (*call)(void*, int, int) = nullptr;
    void* body = nullptr;
    int n_tasks = 0;
  };
  void run_job(const Job& job);
  bool take_task(int thread);  // false when none is left
  void work(int thread);

  std::vector<std::jthread> workers_;
  Job job_;
  // Number of the job (32 bits), its tasks (16), the next task (16). A thread that has taken a task
  // of a job by advancing the ticket may read job_: the next job is not written before every taken
  // task is finished.
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<int> unfinished_{0};
  std::atomic<std::uint32_t> wake_{0};  // what sleeping workers wait on
  std::atomic<bool> stopping_{false};
};

}  // namespace runnel
