// A feed that its caller stops leaves a stream as if it had been fed what it has read.
#include <gtest/gtest.h>

#include <vector>

#include "runnel/runnel.h"
#include "support/made_models.h"

namespace runnel {
namespace {

class StoppedFeed : public testing::TestWithParam<ModelShape> {
 protected:
  static constexpr std::size_t kRead = 48;  // of three chunks

  Stream open() const { return model_.open({.sinks = 2, .window = 20, .chunk = 16}); }
  Stream stopped() const {
    Stream stream = open();
    EXPECT_EQ(stream.feed(tokens_, [](std::int64_t n) { return n < std::int64_t{kRead}; }),
              std::int64_t{kRead});
    return stream;
  }
  Stream fed() const {
    Stream stream = open();
    stream.feed(std::span<const Token>(tokens_).first(kRead));
    return stream;
  }
  static std::vector<float> logits_of(const Stream& stream) {
    return {stream.logits().begin(), stream.logits().end()};
  }

  const MadeModel made_ = test::make(GetParam());
  const Model model_ = Model::load(made_.bytes(), "made");
  const std::vector<Token> tokens_ = test::some_tokens(100, GetParam().vocabulary_size);
};

TEST_P(StoppedFeed, HasTheLogitsOfWhatWasRead) {
  EXPECT_EQ(logits_of(stopped()), logits_of(fed()));
}

TEST_P(StoppedFeed, GoesOnReading) {
  const std::span<const Token> all(tokens_);
  Stream stream = stopped(), same = fed();
  for (Stream* const s : {&stream, &same}) s->feed(all.subspan(kRead));
  EXPECT_EQ(logits_of(stream), logits_of(same));
}

TEST_P(StoppedFeed, IsForkedSavedAndScored) {
  const Stream stream = stopped();
  const std::vector<float> want = logits_of(fed());
  EXPECT_EQ(logits_of(stream.fork()), want);
  EXPECT_EQ(logits_of(model_.resume(stopped().save_bytes())), want);
  const std::span<const Token> next = std::span<const Token>(tokens_).subspan(kRead, 3);
  Stream scored = stopped(), same = fed();
  EXPECT_EQ(scored.score(next), same.score(next));
}

TEST_P(StoppedFeed, WritesWithOthers) {
  Stream one = stopped(), other = stopped(), same = fed();
  Stream* const both[] = {&one, &other};
  for (int i = 0; i < 5; ++i) {
    const std::vector<Stream::Step> steps = Stream::next(both);
    const Token want = same.next().token;
    EXPECT_EQ(steps[0].token, want);
    EXPECT_EQ(steps[1].token, want);
  }
}

INSTANTIATE_TEST_SUITE_P(Every, StoppedFeed, testing::ValuesIn(test::tiny_shapes()),
                         [](const auto& parameter) {
                           return test::test_name(std::string(parameter.param.architecture));
                         });

}  // namespace
}  // namespace runnel
