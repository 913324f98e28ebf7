// The guard: loops, running measures, and what an answer does about them.
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runnel/runnel.h"
#include "serve/guard/guard.h"
#include "serve/hub/hub.h"
#include "serve/scheduler/scheduler.h"
#include "serve/store/store.h"
#include "support/paths.h"

namespace runnel::serve {
namespace {

TEST(LoopDetector, FindsTheRunThatRepeats) {
  for (const int length : {1, 2, 7, 30, 64}) {
    LoopDetector detector;
    std::mt19937 random(1);
    for (int i = 0; i < 200; ++i) EXPECT_EQ(detector.push(static_cast<Token>(random() % 5000)), 0);
    int found = 0;
    for (int i = 0; i < length * LoopDetector::kRepeats + LoopDetector::kLeastTokens; ++i)
      found = detector.push(10000 + i % length);
    EXPECT_EQ(found, length);
  }
}

TEST(LoopDetector, LeavesProseAlone) {
  LoopDetector detector;
  std::mt19937 random(2);
  for (int i = 0; i < 20000; ++i) EXPECT_EQ(detector.push(static_cast<Token>(random() % 20)), 0);
  // A verse with a refrain comes back, but not at once.
  for (int verse = 0; verse < 20; ++verse) {
    for (int i = 0; i < 30; ++i) EXPECT_EQ(detector.push(i), 0);
    for (int i = 0; i < 90; ++i) EXPECT_EQ(detector.push(static_cast<Token>(random() % 5000)), 0);
  }
}

TEST(Guard, TellsThatALoopBeganOnce) {
  Guard guard;
  int n_began = 0;
  for (int i = 0; i < 500; ++i) {
    guard.wrote(i % 3, -1.0f);
    if (guard.found({}) == Trouble::kLoop) ++n_began;
  }
  EXPECT_EQ(n_began, 1);
  EXPECT_EQ(guard.measures().loop, 3);
  EXPECT_EQ(guard.measures().loops, 1u);
  EXPECT_NEAR(guard.measures().written_log_probability, -1, 1e-6);
}

TEST(Guard, MeasuresTheEntropyOfWhatMayCome) {
  Guard guard;
  guard.look(std::vector<float>(8, 0.5f));
  EXPECT_NEAR(guard.measures().entropy, std::log(8.0), 1e-6);
}

TEST(Guard, FindsWhatLeavesItsBoundsOnceUntilItComesBack) {
  const GuardOptions options = {.least_log_probability = -4};
  Guard guard;
  std::mt19937 random(3);
  std::vector<int> found_at;
  const auto write = [&](int n, float log_probability) {
    for (int i = 0; i < n; ++i) {
      guard.wrote(static_cast<Token>(random() % 5000), log_probability);
      if (guard.found(options) == Trouble::kLikelihood) found_at.push_back(i);
    }
  };
  write(63, -9);
  EXPECT_TRUE(found_at.empty());  // too few to tell
  write(500, -9);
  EXPECT_EQ(found_at, std::vector<int>{0});
  write(2000, -1);
  write(2000, -9);
  EXPECT_EQ(found_at.size(), 2u);
  EXPECT_EQ(guard.measures().drifts, 2u);
  guard.begin_anew();
  EXPECT_EQ(guard.measures().written_log_probability, 0);
  EXPECT_EQ(guard.measures().drifts, 2u);
}

TEST(Guard, FindsEntropyAndSinksOutOfBounds) {
  Guard guard;
  const std::vector<float> even(16, 0.0f);
  for (int i = 0; i < 64; ++i) guard.look(even);
  const double entropy = std::log(16.0);
  EXPECT_EQ(guard.found({.least_entropy = entropy - 0.1, .most_entropy = entropy + 0.1}),
            std::nullopt);
  EXPECT_EQ(guard.found({.most_entropy = entropy - 0.1}), Trouble::kEntropy);
  EXPECT_EQ(guard.found({}), std::nullopt);
  EXPECT_EQ(guard.found({.least_entropy = entropy + 0.1}), Trouble::kEntropy);
  EXPECT_EQ(guard.found({.least_sink_share = 0.2}), std::nullopt);  // nobody has looked
  guard.saw_sink_share(0.1);
  EXPECT_EQ(guard.found({.least_sink_share = 0.2}), Trouble::kSinks);
}

TEST(Guard, NamesItsActions) {
  for (const char* name : {"tell", "stop", "heat", "rebuild"})
    EXPECT_STREQ(name_of(*action_named(name)), name);
  EXPECT_EQ(action_named("pray"), std::nullopt);
}

// ---- What an answer does about it

struct Told final : AnswerListener {
  void wrote(const Written& written, const Place& place) override {
    for (const TokenInfo& info : written.tokens) tokens.push_back(info.token);
    places.push_back(place);
  }
  void noticed(const Notice& notice, const Place& place) override {
    notices.push_back(notice);
    noticed_at.push_back(place.position);
  }
  void measured(const Guard::Measures&, const Place&) override { ++n_measured; }
  void ended(const Ending& ending, const Place& place) override {
    finish = ending.finish;
    why = ending.why;
    last = place;
    is_over.set_value();
  }

  std::vector<Token> tokens;
  std::vector<Place> places;
  std::vector<Notice> notices;
  std::vector<std::int64_t> noticed_at;
  int n_measured = 0;
  Finish finish = Finish::kFailed;
  std::string why;
  Place last;
  std::promise<void> is_over;
};

constexpr int kSinks = 4, kWindow = 40;
constexpr std::int64_t kRead = 60;  // tokens

const Model& bundled() {
  static const Model model = Model::load(test::bundled_model(), {.threads = 2});
  return model;
}

std::vector<Token> text_to_read() {
  std::vector<Token> tokens = bundled().tokenize(
      "The old house stood at the end of the lane, and nobody had lived in it for years. It had a "
      "garden with a wall around it, and a gate that was never shut. On summer evenings the "
      "children of the village came as far as the gate and looked in, and then they ran away.");
  tokens.resize(kRead);
  return tokens;
}

// An answer that finds its likelihood too low as soon as it may, on a stream of its own.
std::shared_ptr<Told> answer_in_trouble(GuardAction action, std::int64_t n_tokens,
                                        float temperature, Stream::Step* next = nullptr) {
  Scheduler scheduler({});
  Store store("");
  HubOptions options;
  options.stream = {.sinks = kSinks, .window = kWindow};
  options.memory_bytes = std::size_t{1} << 30;
  Hub hub(bundled(), scheduler, store, options);
  scheduler.begin({});
  const auto told = std::make_shared<Told>();
  scheduler.post([&, told] {
    Channel& channel = hub.open(Channel::Kind::kConversation, "one", {});
    AnswerOptions wanted = {.sampling = {.temperature = temperature},
                            .seed = 5,
                            .most_tokens = n_tokens,
                            .ends_with_model = false,
                            .wants_log_probabilities = true};
    wanted.guard = GuardOptions{.on_drift = action, .least_log_probability = -0.001};
    hub.answer(channel, wanted, told, [] { return [] { return text_to_read(); }; });
  });
  told->is_over.get_future().wait();
  std::promise<void> is_done;
  scheduler.post([&] {
    if (next != nullptr) *next = hub.find("one")->stream->fork().next();
    is_done.set_value();
  });
  is_done.get_future().wait();
  scheduler.stop();
  return told;
}

TEST(GuardActions, TellChangesNothing) {
  const auto told = answer_in_trouble(GuardAction::kTell, 150, 0.8f);
  ASSERT_EQ(told->notices.size(), 1u);
  EXPECT_EQ(told->notices[0].trouble, Trouble::kLikelihood);
  EXPECT_EQ(told->noticed_at[0], kRead + 64);
  EXPECT_EQ(told->n_measured, 2);
  Stream alone = bundled().open({.sinks = kSinks, .window = kWindow, .sampling = {.seed = 5}});
  alone.feed(text_to_read());
  for (const Token token : told->tokens) ASSERT_EQ(alone.next().token, token);
}

TEST(GuardActions, StopEndsTheAnswerAndSaysWhy) {
  const auto told = answer_in_trouble(GuardAction::kStop, 150, 0.8f);
  EXPECT_EQ(told->finish, Finish::kGuard);
  EXPECT_EQ(told->why, "likelihood");
  EXPECT_EQ(told->last.position, kRead + 64);
}

TEST(GuardActions, HeatGoesOnWithAHigherTemperature) {
  const auto told = answer_in_trouble(GuardAction::kHeat, 100, 0.8f);
  ASSERT_EQ(told->notices.size(), 1u);
  EXPECT_EQ(told->notices[0].action, GuardAction::kHeat);
  EXPECT_NE(told->notices[0].text.find("temperature is now 1.20"), std::string::npos);
  Stream alone = bundled().open({.sinks = kSinks, .window = kWindow, .sampling = {.seed = 5}});
  alone.feed(text_to_read());
  for (std::size_t i = 0; i < told->tokens.size(); ++i) {
    if (i == 64) alone.set_sampling({.temperature = 1.2f, .repetition_penalty = 1.1f, .seed = 5});
    ASSERT_EQ(alone.next().token, told->tokens[i]) << i;
  }
}

TEST(GuardActions, RebuildGoesOnFromTheTokensThatAreSeenAsIfNothingElseHadBeen) {
  for (const float temperature : {0.0f, 0.8f}) {
    constexpr std::int64_t kWritten = 64 + 30;
    Stream::Step next;
    const auto told = answer_in_trouble(GuardAction::kRebuild, kWritten, temperature, &next);
    ASSERT_EQ(told->notices.size(), 1u);
    EXPECT_EQ(told->notices[0].action, GuardAction::kRebuild);
    EXPECT_EQ(told->finish, Finish::kLength);
    ASSERT_EQ(std::ssize(told->tokens), kWritten);
    // The place goes on as if nothing had happened.
    EXPECT_EQ(told->last.position, kRead + kWritten);
    EXPECT_EQ(told->last.evicted, kRead + kWritten - kSinks - kWindow);
    EXPECT_EQ(told->last.horizon, kRead + kWritten - kWindow);
    for (std::size_t i = 1; i < told->places.size(); ++i)
      EXPECT_GT(told->places[i].position, told->places[i - 1].position);

    std::vector<Token> all = text_to_read();
    all.insert(all.end(), told->tokens.begin(), told->tokens.end());
    const std::size_t n_before = kRead + 64;
    std::vector<Token> seen(all.begin(), all.begin() + kSinks);
    seen.insert(seen.end(), all.begin() + static_cast<std::ptrdiff_t>(n_before) - kWindow,
                all.begin() + static_cast<std::ptrdiff_t>(n_before));
    Stream fresh = bundled().open(
        {.sinks = kSinks,
         .window = kWindow,
         .sampling = {.temperature = temperature, .seed = seed_after(5, 64, temperature)},
         .start_position = kRead + 64 - kSinks - kWindow});
    fresh.feed(seen);
    for (std::size_t i = n_before; i < all.size(); ++i) ASSERT_EQ(fresh.next().token, all[i]) << i;
    EXPECT_EQ(fresh.next().token, next.token);
  }
}

}  // namespace
}  // namespace runnel::serve
