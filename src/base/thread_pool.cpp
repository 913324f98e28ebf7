#include "base/thread_pool.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <system_error>
#include <vector>

#include "base/cores.h"
#include "runnel/error.h"

namespace runnel {
namespace {

constexpr int kSpins = 2000;  // some ten microseconds: the gap between two jobs of one decode step

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0)
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<int> processors;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) processors.push_back(i);
  }
  const int n_cores = fast_cores(processors);
  return std::min(n_cores, granted_cores().value_or(n_cores));
}

// Spins for a moment; false: `value` is still `old`.
template <typename T>
bool changes_soon(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return true;
    if (i % 64 == 63) std::this_thread::yield();
  }
  return false;
}

struct Range {
  int first;
  int end;
};
constexpr std::uint64_t share_of(std::uint64_t job, Range range) {
  return job << 32 | static_cast<std::uint64_t>(range.first) << 16 |
         static_cast<std::uint64_t>(range.end);
}
constexpr Range range_of(std::uint64_t share) {
  return {static_cast<int>(share >> 16 & 0xffff), static_cast<int>(share & 0xffff)};
}

// An eighth of what is left, from its beginning or from its end; an empty range if nothing is.
Range take(std::atomic<std::uint64_t>& left, bool is_from_beginning) {
  std::uint64_t share = left.load(std::memory_order_acquire);
  for (;;) {
    const Range all = range_of(share);
    if (all.first == all.end) return all;
    const int n = std::max(1, (all.end - all.first) / 8);
    const Range taken =
        is_from_beginning ? Range{all.first, all.first + n} : Range{all.end - n, all.end};
    const Range rest =
        is_from_beginning ? Range{taken.end, all.end} : Range{all.first, taken.first};
    if (left.compare_exchange_weak(share, share_of(share >> 32, rest), std::memory_order_acq_rel))
      return taken;
  }
}

}  // namespace

ThreadPool::ThreadPool(int n_threads)
    : shares_(static_cast<std::size_t>(n_threads > 0 ? n_threads : usable_cores())),
      crowding_(size()),
      n_active_(size()) {
  try {
    for (int thread = 1; thread < size(); ++thread)
      workers_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error& error) {
    stop();
    throw Error(fmt::format("threads: want {}, the system gives {}: {}", size(),
                            workers_.size() + 1, error.code().message()));
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_.store(true);
  wake_.fetch_add(1, std::memory_order_release);
  wake_.notify_all();
}

void ThreadPool::run_job(const Job& job) {
  if (job.n_tasks <= 0) return;
  if (crowding_.is_crowded()) {
    crowding_.look_again(Clock::now());
    n_active_.store(crowding_.n_active(), std::memory_order_relaxed);
  }
  const int n_active = crowding_.n_active();
  if (n_active == 1) return job.call(job.body, job.first, job.first + job.n_tasks, 0);
  job_ = job;
  unfinished_.store(job.n_tasks, std::memory_order_relaxed);
  const std::uint64_t number = (shares_.front().left.load(std::memory_order_relaxed) >> 32) + 1;
  int first = 0;
  for (int thread = 0; thread < size(); ++thread) {
    const int n_left = std::max(1, n_active - thread);
    const int end = thread < n_active ? first + (job.n_tasks - first) / n_left : first;
    shares_[static_cast<std::size_t>(thread)].left.store(share_of(number, {first, end}),
                                                         std::memory_order_release);
    first = end;
  }
  wake_.fetch_add(1, std::memory_order_release);
  wake_.notify_all();
  take_tasks(0);
  wait_for_others();
}

void ThreadPool::wait_for_others() {
  for (int left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    if (changes_soon(unfinished_, left)) continue;
    const Clock::time_point begin = Clock::now();
    unfinished_.wait(left, std::memory_order_acquire);
    if (!watches_crowding_) continue;
    crowding_.waited(begin, Clock::now());
    n_active_.store(crowding_.n_active(), std::memory_order_relaxed);
  }
}

// Its own tasks, then those of the threads after it.
void ThreadPool::take_tasks(int thread) {
  int n_done = 0;
  for (int i = 0; i < size(); ++i) {
    std::atomic<std::uint64_t>& left =
        shares_[static_cast<std::size_t>((thread + i) % size())].left;
    for (;;) {
      const Range range = take(left, i == 0);
      if (range.first == range.end) break;
      job_.call(job_.body, job_.first + range.first, job_.first + range.end, thread);
      n_done += range.end - range.first;
    }
  }
  if (n_done > 0 && unfinished_.fetch_sub(n_done, std::memory_order_acq_rel) == n_done)
    unfinished_.notify_one();
}

void ThreadPool::work(int thread) {
  for (;;) {
    const std::uint32_t wake = wake_.load(std::memory_order_acquire);
    if (thread < n_active_.load(std::memory_order_relaxed)) take_tasks(thread);
    if (stopping_.load()) return;
    if (!changes_soon(wake_, wake)) wake_.wait(wake, std::memory_order_acquire);
  }
}

}  // namespace runnel
