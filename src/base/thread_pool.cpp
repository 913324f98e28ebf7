#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace runnel {
namespace {

constexpr int kSpins =
    2000;  // some tens of microseconds: the gap between two jobs of one decode step

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

// Spins for a moment, then sleeps, until `value` is no longer `old`.
template <typename T>
void wait_for_change(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    if (i % 64 == 63) std::this_thread::yield();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) {
  const int n = n_threads > 0 ? n_threads : usable_cores();
  for (int thread = 1; thread < n; ++thread) {
    workers_.emplace_back([this, thread] { work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true);
  wake_.fetch_add(1, std::memory_order_release);
  wake_.notify_all();
}

void ThreadPool::run_job(const Job& job) {
  if (job.n_tasks <= 0) return;
  job_ = job;
  unfinished_.store(job.n_tasks, std::memory_order_relaxed);
  const std::uint64_t number = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  ticket_.store(number << 32 | static_cast<std::uint64_t>(job.n_tasks) << 16,
                std::memory_order_release);
  if (job.n_tasks > 1 && !workers_.empty()) {
    wake_.fetch_add(1, std::memory_order_release);
    wake_.notify_all();
  }
  while (take_task(0)) {
  }
  for (int left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    wait_for_change(unfinished_, left);
  }
}

bool ThreadPool::take_task(int thread) {
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if ((ticket & 0xffff) >= (ticket >> 16 & 0xffff)) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel));
  job_.call(job_.body, static_cast<int>(ticket & 0xffff), thread);
  if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  return true;
}

void ThreadPool::work(int thread) {
  for (;;) {
    const std::uint32_t wake = wake_.load(std::memory_order_acquire);
    while (take_task(thread)) {
    }
    if (stopping_.load()) return;
    wait_for_change(wake_, wake);
  }
}

}  // namespace runnel
