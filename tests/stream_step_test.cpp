// Streams that read and write in one step against the same streams alone.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runnel/runnel.h"
#include "support/made_models.h"
#include "support/paths.h"

namespace runnel {
namespace {

const Model& stepped_model() {
  static const Model model = Model::load(test::bundled_model(), {.threads = 2});
  return model;
}

StreamOptions options_of(int i) {
  return {.policy = i == 5 ? Policy::kRecompute : Policy::kSink,
          .sinks = 1 + i,
          .window = 20 + 7 * i,
          .kv_type = i % 2 == 0 ? KvType::kF16 : KvType::kQ8_0,
          .chunk = 16,
          .draft = i == 4 ? 3 : 0,
          .sampling = {.seed = static_cast<std::uint64_t>(i)}};
}

TEST(StreamStep, GivesEachStreamWhatItGetsAlone) {
  constexpr int kSteppedStreams = 6;
  const std::vector<Token> text = test::some_tokens(200, stepped_model().vocabulary_size());
  std::vector<Stream> streams;
  std::vector<std::vector<Token>> got(kSteppedStreams);
  std::vector<std::vector<Token>> reads(kSteppedStreams);  // by the step they came before
  std::vector<std::vector<int>> order(kSteppedStreams);    // tokens read; 0: written
  for (int i = 0; i < kSteppedStreams; ++i) {
    streams.push_back(stepped_model().open(options_of(i)));
    streams.back().feed(std::span<const Token>(text).first(3));
  }
  for (int step = 0; step < 60; ++step) {
    std::vector<Stream::Work> work;
    for (int i = 0; i < kSteppedStreams; ++i) {
      const bool reads_now = (step + 2 * i) % 5 < 2;
      const auto n = static_cast<std::size_t>(reads_now ? 1 + (step * 3 + i) % 16 : 0);
      work.push_back({&streams[static_cast<std::size_t>(i)],
                      std::span<const Token>(text).subspan(static_cast<std::size_t>(step), n)});
      order[static_cast<std::size_t>(i)].push_back(static_cast<int>(n));
    }
    const std::vector<Stream::Step> steps = Stream::step(work);
    for (std::size_t i = 0; i < kSteppedStreams; ++i) {
      if (work[i].read.empty()) got[i].push_back(steps[i].token);
    }
  }
  for (int i = 0; i < kSteppedStreams; ++i) {
    SCOPED_TRACE(i);
    const auto at = static_cast<std::size_t>(i);
    Stream alone = stepped_model().open(options_of(i));
    alone.feed(std::span<const Token>(text).first(3));
    std::vector<Token> want;
    for (std::size_t step = 0; step < order[at].size(); ++step) {
      const auto n = static_cast<std::size_t>(order[at][step]);
      if (n > 0) {
        alone.feed(std::span<const Token>(text).subspan(step, n));
      } else {
        want.push_back(alone.next().token);
      }
    }
    EXPECT_EQ(got[at], want);
    EXPECT_EQ(streams[at].position(), alone.position());
    EXPECT_TRUE(std::equal(alone.logits().begin(), alone.logits().end(),
                           streams[at].logits().begin(), streams[at].logits().end()));
  }
}

TEST(StreamStep, MovesNoStreamWhenOneCannot) {
  Stream good = stepped_model().open({.window = 20, .chunk = 8});
  Stream bad = stepped_model().open({.window = 20, .chunk = 8});
  good.feed("Once");
  const std::int64_t position = good.position();
  const std::vector<Token> too_many(9, 5);
  const std::vector<Token> unknown = {stepped_model().vocabulary_size()};
  for (const std::vector<Token>& tokens : {too_many, unknown}) {
    const std::vector<Stream::Work> work = {{&good, {}}, {&bad, tokens}};
    EXPECT_THROW(Stream::step(work), Error);
    EXPECT_EQ(good.position(), position);
    EXPECT_EQ(bad.position(), 0);
  }
  const std::vector<Stream::Work> twice = {{&good, {}}, {&good, {}}};
  EXPECT_THROW(Stream::step(twice), Error);
}

}  // namespace
}  // namespace runnel
