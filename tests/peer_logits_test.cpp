// All logits of small random models against those of another widely used engine.
#include <gtest/gtest.h>

#include "support/paths.h"
#include "support/peer_models.h"

namespace runnel {
namespace {

class PeerLogits : public testing::TestWithParam<std::pair<std::string, ModelShape>> {};

TEST_P(PeerLogits, AreOurs) {
  const auto& [name, shape] = GetParam();
  const std::vector<float> want = test::read_floats(test::fixture("logits/" + name + ".f32"));
  const std::vector<Token> tokens = test::some_tokens(test::kPeerTokens, shape.vocabulary_size);
  const MadeModel model = test::make(shape);
  test::LoadedDecoder decoder(test::parse(model));
  // that engine takes GELU from a half-precision table, and the lengths of a delta net's keys with
  // another epsilon
  const bool is_delta_net = shape.delta_net.n_key_heads > 0;
  const bool has_gelu = name == "starcoder2" || name.starts_with("gemma4");
  const double tolerance = has_gelu ? 2e-3 : is_delta_net ? 5e-5 : 5e-6;
  for (const int chunk : {1, 7, 24}) {
    KvCache cache = decoder.cache({.sinks = 0, .window = kUnbounded}, KvType::kF32, chunk);
    const std::vector<float> got = decoder.all_logits(cache, tokens, chunk);
    ASSERT_EQ(got.size(), want.size());
    EXPECT_LT(test::relative_error(got, want), tolerance) << "chunk " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(Every, PeerLogits, testing::ValuesIn(test::peer_models()),
                         [](const auto& parameter) {
                           return test::test_name(parameter.param.first);
                         });

}  // namespace
}  // namespace runnel
