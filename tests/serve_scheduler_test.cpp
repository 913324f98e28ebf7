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

const Model& scheduled_model() {
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
      : job_(job), gate_(gate), stream_(scheduled_model().open(job.options)) {}

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
  Stream stream = scheduled_model().open(job.options);
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
                    .text = test::some_tokens(n, scheduled_model().vocabulary_size()),
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
                    .text = test::some_tokens(40, scheduled_model().vocabulary_size()),
                    .n_to_write = 10};
  Job bad = good;
  bad.text[20] = scheduled_model().vocabulary_size();
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

// A machine on which a step takes so long, and now and then, because others use it too, several
// times that.
struct Machine {
  double step = 0, token = 0, scored_token = 0;  // seconds
  std::uint64_t state = 1;

  Pace::Seconds took(std::int64_t n_plain, std::int64_t n_scored) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double noise = state >> 59 == 0 ? 2.5 : 1 + static_cast<double>(state >> 60) / 32;
    return Pace::Seconds(noise * (step + token * static_cast<double>(n_plain) +
                                  scored_token * static_cast<double>(n_scored)));
  }
};

struct Observed {
  double longest = 0;  // seconds of a step in which somebody wrote
  std::int64_t n_read = 0;
};

// Readers come and go beside one who writes all the time.
Observed run(Pace& pace, Machine machine, int n_steps) {
  constexpr std::int64_t kMost = 512;
  Observed observed;
  for (int i = 0; i < n_steps; ++i) {
    const bool is_scored = i % 300 > 250;
    const bool has_reader = i % 100 > 10;
    const Pace::Kind kind = is_scored ? Pace::Kind::kScored : Pace::Kind::kPlain;
    const std::int64_t n = has_reader ? pace.n_to_read(kind, pace.budget(true), kMost) : 0;
    EXPECT_GE(n, has_reader ? 1 : 0);
    const Pace::Seconds scored = is_scored ? machine.took(0, n) : Pace::Seconds(0);
    const Pace::Seconds plain = machine.took(is_scored ? 0 : n, 0);
    if (is_scored) pace.learn(kind, n, false, scored);
    if (!is_scored) pace.learn(kind, n, true, plain);
    if (n == 0 || is_scored) pace.learn_writing(plain);
    observed.longest = std::max(observed.longest, (scored + plain).count());
    observed.n_read += n;
  }
  return observed;
}

constexpr std::chrono::milliseconds kBound{200};

TEST(Pace, NoWriterWaitsLongerThanTheBoundFromTheFirstStepOn) {
  const Machine machines[] = {{.step = 0.002, .token = 0.0003, .scored_token = 0.002},
                              {.step = 0.0001, .token = 0.00001, .scored_token = 0.00001},
                              {.step = 0.020, .token = 0.015, .scored_token = 0.015}};
  for (const Machine& machine : machines) {
    Pace pace(kBound);
    EXPECT_LT(run(pace, machine, 20000).longest, 0.2) << machine.token;
  }
}

TEST(Pace, ReadsMuchOfWhatTheBoundAllows) {
  Pace pace(kBound);
  const Machine machine = {.step = 0.002, .token = 0.0003, .scored_token = 0.0003};
  EXPECT_GT(run(pace, machine, 20000).n_read, 20000 * 50);
  // A large model takes long for a step, however little it reads: reading comes cheap beside it.
  Pace large(kBound);
  EXPECT_GT(run(large, {.step = 0.050, .token = 0.001, .scored_token = 0.001}, 20000).n_read,
            20000 * 5);
}

TEST(Pace, TakesLongStepsWhereNobodyWaitsAndShortOnesWhereWritersTakeTurns) {
  Pace pace(kBound);
  for (int i = 0; i < 100; ++i) {
    const std::int64_t n = pace.n_to_read(Pace::Kind::kPlain, pace.budget(false), 512);
    pace.learn(Pace::Kind::kPlain, n, false, Pace::Seconds(0.001 * static_cast<double>(n)));
  }
  const auto n_of = [&](Pace::Seconds time) {
    return pace.n_to_read(Pace::Kind::kPlain, time, 512);
  };
  EXPECT_NEAR(n_of(pace.budget(false)), 200, 1);
  EXPECT_NEAR(n_of(pace.budget(true)), 60, 1);
  EXPECT_NEAR(n_of(pace.budget(true, 2)), 30, 1);
  EXPECT_EQ(n_of(Pace::Seconds(0)), 1);
}

TEST(Pace, RemembersASlowStepForAWhile) {
  Pace pace(kBound);
  const auto learn = [&](double seconds) {
    pace.learn(Pace::Kind::kPlain, 64, false, Pace::Seconds(seconds));
  };
  const auto n = [&] { return pace.n_to_read(Pace::Kind::kPlain, pace.budget(true), 512); };
  learn(0.064);
  EXPECT_NEAR(n(), 60, 1);
  learn(0.640);  // somebody else took the machine
  EXPECT_NEAR(n(), 6, 1);
  for (int i = 0; i < 31; ++i) learn(0.064);
  EXPECT_NEAR(n(), 6, 1);
  learn(0.064);
  EXPECT_NEAR(n(), 60, 1);
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
