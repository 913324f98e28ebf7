#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/error_text.h"

namespace runnel {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceAndWaitsForAll) {
  for (const int n_threads : {1, 2, 5}) {
    ThreadPool pool(n_threads);
    ASSERT_EQ(pool.size(), n_threads);
    for (int job = 0; job < 2000; ++job) {
      const int n_tasks = job % 41;
      std::vector<int> runs(
          static_cast<std::size_t>(n_tasks));  // each task has its own place: no lock
      pool.run(n_tasks, [&](int task, int thread) {
        EXPECT_TRUE(thread >= 0 && thread < n_threads);
        ++runs[static_cast<std::size_t>(task)];
      });
      EXPECT_EQ(runs, std::vector<int>(static_cast<std::size_t>(n_tasks), 1)) << "job " << job;
    }
  }
}

TEST(ThreadPool, TakesEveryTaskOnceInRanges) {
  for (const int n_threads : {1, 2, 7}) {
    ThreadPool pool(n_threads);
    for (const int n_tasks : {0, 1, 2, 6, 100, 65535, 200000}) {
      std::vector<int> runs(static_cast<std::size_t>(n_tasks));
      pool.run_ranges(n_tasks, [&](int first, int end, int thread) {
        EXPECT_TRUE(first < end && thread >= 0 && thread < n_threads);
        for (int task = first; task < end; ++task) ++runs[static_cast<std::size_t>(task)];
      });
      EXPECT_EQ(runs, std::vector<int>(static_cast<std::size_t>(n_tasks), 1));
    }
  }
}

// The first one to take tasks does not end before all others are done: a pool that left them to it
// would wait for ever.
TEST(ThreadPool, LeavesTheTasksOfASlowThreadToTheOthers) {
  constexpr int kTasks = 64;
  ThreadPool pool(2);
  std::atomic<int> n_done = 0;
  std::atomic<bool> is_first = true;
  pool.run_ranges(kTasks, [&](int first, int end, int) {
    if (is_first.exchange(false)) {
      while (n_done < kTasks - (end - first)) std::this_thread::yield();
    }
    n_done += end - first;
  });
  EXPECT_EQ(n_done, kTasks);
}

TEST(ThreadPool, SaysHowManyThreadsTheSystemGives) {
  if (!std::string_view(RUNNEL_SANITIZE).empty())
    GTEST_SKIP() << "the sanitizer takes memory of its own";
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  rlimit little = before;
  little.rlim_cur = rlim_t{1} << 30;  // a thread's stack takes 8 MiB of it
  ASSERT_EQ(setrlimit(RLIMIT_AS, &little), 0);
  const std::string error = test::error_of([] { ThreadPool pool(1024); });
  setrlimit(RLIMIT_AS, &before);
  if (error == "no error") GTEST_SKIP() << "no limit of memory here";
  EXPECT_EQ(error.find("threads: want 1024, the system gives "), 0u) << error;
}

TEST(ThreadPool, SeesWhatTheJobBeforeWrote) {
  ThreadPool pool(3);
  std::vector<int> values(64, 0);
  for (int job = 0; job < 500; ++job) {
    std::vector<int> next(values.size());
    pool.run(64, [&](int task, int) {
      const auto i = static_cast<std::size_t>(task);
      next[i] = values[(i + 1) % values.size()] + 1;
    });
    values = next;
  }
  EXPECT_EQ(values, std::vector<int>(64, 500));
}

// Once a job is done, threads sleep before a millisecond has passed: in the time after it none
// runs.
TEST(ThreadPool, RestsWhenThereIsNothingToDo) {
  const auto processor_seconds = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  constexpr int kThreads = 4;
  constexpr int kPauses = 10;
  ThreadPool pool(kThreads);
  double best = 1;  // of several: a busy machine lets a thread run out its spins later
  for (int attempt = 0; attempt < 5; ++attempt) {
    double burnt = 0;
    for (int i = 0; i < kPauses; ++i) {
      pool.run(64, [](int, int) {});
      const double before = processor_seconds();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      burnt += processor_seconds() - before;
    }
    best = std::min(best, burnt / kPauses);
  }
  EXPECT_LT(best, 1e-3 * (kThreads - 1));  // each of those that wait, at most a millisecond
}

// A second thread that takes 5 ms for what the first does at once, as if it had lost its core.
TEST(ThreadPool, GoesOnWithoutAThreadThatAllWaitFor) {
  ThreadPool pool(2);
  pool.watch_crowding();
  std::atomic<bool> is_slow = true;
  const auto runs_until = [&](int n_active) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (pool.active() != n_active && std::chrono::steady_clock::now() < end) {
      pool.run(8, [&](int, int thread) {
        std::this_thread::sleep_for(std::chrono::microseconds(thread == 1 && is_slow ? 5000 : 100));
      });
    }
    return pool.active() == n_active;
  };
  EXPECT_TRUE(runs_until(1));
  is_slow = false;
  EXPECT_TRUE(runs_until(2));
}

TEST(ThreadPool, TakesOneThreadForEachCoreWhenNoneAreNamed) { EXPECT_GE(ThreadPool(0).size(), 1); }

}  // namespace
}  // namespace runnel
