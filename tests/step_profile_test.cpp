// Where the time of steps goes, and of a token's work what is done only where somebody wants it.
#include "engine/step_profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "support/paths.h"

namespace runnel {
namespace {

class Logits : public testing::Test {
 protected:
  const Model model_ = Model::load(test::bundled_model());
  const std::vector<Token> tokens_ = std::vector<Token>(200, 7);

  Stream open(int chunk) const { return model_.open({.sinks = 4, .window = 60, .chunk = chunk}); }
};

TEST_F(Logits, AreComputedForTheLastTokenOfWhatIsRead) {
  Stream stream = open(64);
  const StepProfile profile(model_, stream.options());
  stream.feed(tokens_);  // in four chunks
  EXPECT_EQ(profile.n_logits(), 1u);
}

TEST_F(Logits, AreComputedWhenSomebodyWantsThemWhereAFeedWasStopped) {
  Stream stream = open(64);
  const StepProfile profile(model_, stream.options());
  stream.feed(tokens_, [](std::int64_t n) { return n < 100; });
  EXPECT_EQ(profile.n_logits(), 0u);
  stream.next();
  EXPECT_EQ(profile.n_logits(), 2u);  // of the last token read, and of the one written
}

TEST_F(Logits, AreComputedOnceForEveryTokenWritten) {
  Stream stream = open(256);
  stream.feed(tokens_);
  const StepProfile profile(model_, stream.options());
  for (int i = 0; i < 10; ++i) stream.next();
  EXPECT_EQ(profile.n_logits(), 10u);
}

TEST_F(Logits, AreComputedOnceForEachOfManyStreamsInAStep) {
  std::vector<Stream> streams;
  std::vector<Stream*> pointers;
  for (int i = 0; i < 3; ++i) streams.push_back(open(256));
  for (Stream& stream : streams) {
    stream.feed(tokens_);
    pointers.push_back(&stream);
  }
  const StepProfile profile(model_, streams[0].options());
  for (int i = 0; i < 5; ++i) Stream::next(pointers);
  EXPECT_EQ(profile.n_logits(), 15u);
}

TEST_F(Logits, StandBesideTheNameOfTheCache) {
  Stream stream = model_.open({.sinks = 4, .window = 60, .kv_type = KvType::kQ4_0});
  const StepProfile profile(model_, stream.options());
  stream.feed(tokens_);
  std::string kernels;
  for (const PartProfile& part : profile.parts(1)) kernels += part.kernels + "\n";
  EXPECT_NE(kernels.find("q4_0 cache"), std::string::npos) << kernels;
}

// Every moment belongs to one part: together they reach from the profile's beginning into the
// last step, and not beyond it.
TEST(StepProfile, PartsAreAllOfTheTime) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  const Model model = Model::load(test::bundled_model());
  Stream stream = model.open({.sinks = 4, .window = 60});
  stream.feed(std::vector<Token>(3, 7));
  const Clock::time_point before = Clock::now();
  const StepProfile profile(model, stream.options());
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < 20; ++i) stream.next();
  const Clock::time_point last_step = Clock::now();
  stream.next();
  const Clock::time_point end = Clock::now();
  double total = 0;
  for (const PartProfile& part : profile.parts(1)) total += part.seconds;
  EXPECT_GE(total, seconds(last_step - begin) * 0.999);  // the sum is rounded
  EXPECT_LE(total, seconds(end - before) * 1.001);
}

}  // namespace
}  // namespace runnel
