// A stream of every architecture goes on past its window: the cache keeps its size and its logits
// stay numbers. (bench/endless_architectures.sh does the same over 100,000 tokens.)
#include <gtest/gtest.h>

#include <cmath>

#include "support/made_models.h"

namespace runnel {
namespace {

class EndlessStream : public testing::TestWithParam<ModelShape> {};

TEST_P(EndlessStream, KeepsItsSizeAndFiniteLogits) {
  constexpr int kChunk = 64;
  const MadeModel model = test::make(GetParam());
  test::LoadedDecoder decoder(test::parse(model));
  KvCache cache = decoder.cache({.sinks = 4, .window = 28}, KvType::kF16, kChunk);
  const std::size_t bytes = cache.bytes();
  const std::vector<Token> tokens = test::some_tokens(2048, GetParam().vocabulary_size);
  decoder.feed(cache, tokens, kChunk, Softmax::kStandard,
               [](std::size_t i, std::span<const float> logits) {
                 if (i % 64 != 0) return;
                 for (const float logit : logits) ASSERT_TRUE(std::isfinite(logit)) << i;
               });
  EXPECT_EQ(cache.position(), 2048);
  EXPECT_EQ(cache.bytes(), bytes);
}

INSTANTIATE_TEST_SUITE_P(Every, EndlessStream, testing::ValuesIn(test::tiny_shapes()),
                         test::ByParameter());

}  // namespace
}  // namespace runnel
