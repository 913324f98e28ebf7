// Of a token's work, what is done only where somebody wants it.
#include "engine/step_profile.h"

#include <gtest/gtest.h>

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

TEST_F(Logits, AreComputedForTheLastTokenOfWhatIsReadTogether) {
  Stream whole = open(256);
  const StepProfile profile(model_, whole.options());
  whole.feed(tokens_);
  EXPECT_EQ(profile.n_logits(), 1u);
}

TEST_F(Logits, AreComputedOnceForEachChunk) {
  Stream stream = open(64);
  const StepProfile profile(model_, stream.options());
  stream.feed(tokens_);
  EXPECT_EQ(profile.n_logits(), 4u);  // of 200 tokens
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

}  // namespace
}  // namespace runnel
