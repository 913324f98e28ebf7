// Streams under the scheduler against the same streams alone.
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runnel/runnel.h"
#include "serve/hub/stop_texts.h"
#include "serve/scheduler/scheduler.h"
#include "support/made_models.h"
#include "support/paths.h"

namespace runnel::serve {
namespace {

const Model& bundled() {
  static const Model model = Model::load(test::bundled_model(), {.threads = 2});
  return model;
}

// Waits until n have arrived.
class Gate {
 public:
  explicit Gate(int n) : left_(n) {}
  void arrive() {
    const std::lock_guard lock(mutex_);
    --left_;
    all_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return all_.wait_for(lock, std::chrono::seconds(120), [&] { return left_ <= 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  int left_;
};

struct Job {
  StreamOptions options;
  std::vector<Token> text;
  int n_to_write = 0;
};

class TestRun final : public Run {
 public:
  TestRun(const Job& job, Gate& gate)
      : job_(job), gate_(gate), stream_(bundled().open(job.options)) {}

  Stream& stream() override { return stream_; }
  Wish wish() override {
    if (n_read_ < job_.text.size())
      return {Wish::Kind::kRead, std::span<const Token>(job_.text).subspan(n_read_)};
    if (std::ssize(written) < job_.n_to_write) return {Wish::Kind::kWrite, {}};
    return {};
  }
  void read(std::size_t n) override { n_read_ += n; }
  void wrote(const Stream::Step& step) override {
    written.push_back(step.token);
    const auto now = std::chrono::steady_clock::now();
    if (written.size() > 1) longest_wait = std::max(longest_wait, now - last_);
    last_ = now;
  }
  void ended(const std::string& why) override {
    failure = why;
    gate_.arrive();
  }

  std::vector<Token> written;
  std::string failure;
  std::chrono::steady_clock::duration longest_wait{};

 private:
  const Job& job_;
  Gate& gate_;
  Stream stream_;
  std::size_t n_read_ = 0;
  std::chrono::steady_clock::time_point last_;
};

std::vector<Token> alone(const Job& job) {
  Stream stream = bundled().open(job.options);
  stream.feed(job.text);
  std::vector<Token> tokens;
  for (int i = 0; i < job.n_to_write; ++i) tokens.push_back(stream.next().token);
  return tokens;
}

std::vector<Job> sixteen_jobs() {
  std::vector<Job> jobs;
  for (int i = 0; i < 16; ++i) {
    const auto n = static_cast<std::size_t>(5 + 37 * i % 300);
    jobs.push_back({.options = {.window = 30 + 3 * i,
                                .chunk = 64,
                                .sampling = {.seed = static_cast<std::uint64_t>(i)}},
                    .text = test::some_tokens(n, bundled().vocabulary_size()),
                    .n_to_write = 20 + 5 * (i % 4)});
  }
  return jobs;
}

TEST(Scheduler, GivesAStreamAmongFifteenOthersTheTokensItGetsAlone) {
  const std::vector<Job> jobs = sixteen_jobs();
  Gate gate(16);
  std::vector<std::shared_ptr<TestRun>> runs;
  for (const Job& job : jobs) runs.push_back(std::make_shared<TestRun>(job, gate));
  Scheduler scheduler({.most_together = 11});  // fewer than there are, so that they take turns
  scheduler.begin({});
  for (const auto& run : runs) scheduler.post([&scheduler, run] { scheduler.start(run); });
  ASSERT_TRUE(gate.wait());
  scheduler.stop();
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_EQ(runs[i]->failure, "");
    EXPECT_EQ(runs[i]->written, alone(jobs[i])) << "stream " << i;
  }
  std::uint64_t n_read = 0, n_written = 0;
  for (const Job& job : jobs) {
    n_read += job.text.size();
    n_written += static_cast<std::uint64_t>(job.n_to_write);
  }
  EXPECT_EQ(scheduler.counters().tokens_read, n_read);
  EXPECT_EQ(scheduler.counters().tokens_written, n_written);
}

TEST(Scheduler, FailsTheRunWhoseStepCannotBeMadeAndNoOther) {
  const Job good = {.options = {.window = 30, .chunk = 16},
                    .text = test::some_tokens(40, bundled().vocabulary_size()),
                    .n_to_write = 10};
  Job bad = good;
  bad.text[20] = bundled().vocabulary_size();
  Gate gate(2);
  const auto first = std::make_shared<TestRun>(good, gate);
  const auto second = std::make_shared<TestRun>(bad, gate);
  Scheduler scheduler({});
  scheduler.begin({});
  scheduler.post([&] { scheduler.start(first), scheduler.start(second); });
  ASSERT_TRUE(gate.wait());
  scheduler.stop();
  EXPECT_EQ(first->failure, "");
  EXPECT_EQ(first->written, alone(good));
  EXPECT_NE(second->failure, "");
}

TEST(Scheduler, DoesWhatWasPostedBeforeItStops) {
  Scheduler scheduler({});
  int n_done = 0;
  for (int i = 0; i < 10; ++i) scheduler.post([&] { ++n_done; });
  scheduler.begin({});
  scheduler.stop();
  EXPECT_EQ(n_done, 10);
  EXPECT_FALSE(scheduler.post([] {}));
}

TEST(Pace, ReadsAsMuchAsTheBoundAllowsAndNeverNothing) {
  Pace pace(std::chrono::milliseconds(200));
  EXPECT_GE(pace.n_to_read(true, 512), 1);
  for (int i = 0; i < 50; ++i) {
    const std::int64_t n = pace.n_to_read(true, 512);
    pace.learn(n, std::chrono::duration<double>(0.001 * static_cast<double>(n)));
  }
  EXPECT_NEAR(static_cast<double>(pace.n_to_read(true, 512)), 60, 6);  // of 200 ms
  EXPECT_EQ(pace.n_to_read(false, 64), 64);
  pace.learn(60, std::chrono::milliseconds(180));  // somebody else took the machine
  EXPECT_LT(pace.n_to_read(true, 512), 30);
  for (int i = 0; i < 50; ++i) pace.learn(1, std::chrono::seconds(5));
  EXPECT_EQ(pace.n_to_read(true, 512), 1);
}

TEST(StopTexts, HoldBackWhatMayBecomeOneAndCutThere) {
  StopTexts stops({"END", "ENOUGH"});
  EXPECT_EQ(stops.push("This is the E"), "This is the ");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("TRY. EN"), "ENTRY. ");
  EXPECT_EQ(stops.push("D and more"), "");
  ASSERT_NE(stops.found(), nullptr);
  EXPECT_EQ(*stops.found(), "END");
  EXPECT_EQ(stops.push("nothing"), "");
  EXPECT_EQ(stops.flush(), "");
}

TEST(StopTexts, ShowWhatWasHeldBackWhereNothingMoreComes) {
  StopTexts stops({"\nUser:"});
  EXPECT_EQ(stops.push("Bye.\nUs"), "Bye.");
  EXPECT_EQ(stops.flush(), "\nUs");
}

}  // namespace
}  // namespace runnel::serve
