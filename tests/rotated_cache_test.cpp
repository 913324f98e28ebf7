// Rotated caches: what a token sees does not change with them, and codes of few bits come near.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <vector>

#include "support/made_models.h"

namespace runnel {
namespace {

// Past the keys that the means are of, more than once around the rings, and beyond all windows.
constexpr std::size_t kRotatedTokens = 200;
const CachePolicy kPolicies[] = {{4, 40}, {9, 100}, {0, 30}, {4, kUnbounded}};

class RotatedCache : public testing::TestWithParam<ModelShape> {
 protected:
  std::vector<Token> tokens_ = test::some_tokens(kRotatedTokens, GetParam().vocabulary_size);
  MadeModel model_ = test::make(GetParam());
  test::LoadedDecoder decoder_{test::parse(model_), 2};

  std::vector<float> logits(KvCache cache, int chunk) {
    return decoder_.all_logits(cache, tokens_, chunk);
  }
};

TEST_P(RotatedCache, GivesTheSameLogitsInChunksOfAnySize) {
  for (const CachePolicy& policy : kPolicies) {
    const auto want = logits(decoder_.rotated_cache(policy, KvType::kQ4_0, 1), 1);
    for (const int chunk : {7, 200}) {
      EXPECT_EQ(logits(decoder_.rotated_cache(policy, KvType::kQ4_0, chunk), chunk), want)
          << "chunk " << chunk << " window " << policy.window;
    }
  }
}

// The median of tokens' errors: experts are chosen, and a small difference may choose others for a
// few tokens, which are far off then.
double median_error(std::span<const float> got, std::span<const float> want) {
  const std::size_t n = want.size() / kRotatedTokens;
  std::vector<double> errors;
  for (std::size_t at = 0; at < want.size(); at += n)
    errors.push_back(test::relative_error(got.subspan(at, n), want.subspan(at, n)));
  std::ranges::nth_element(errors, errors.begin() + kRotatedTokens / 2);
  return errors[kRotatedTokens / 2];
}

// Of floats it would be exact but for the angles, which are in f16. gemma4's scores are not divided
// by the root of the head's size.
TEST_P(RotatedCache, ChangesNothingButRounding) {
  const double scale = GetParam().architecture == "gemma4" ? 2 : 1;
  for (const CachePolicy& policy : kPolicies) {
    const auto want = logits(decoder_.cache(policy, KvType::kF32, 32), 32);
    const auto error = [&](KvCache cache) {
      return median_error(logits(std::move(cache), 32), want);
    };
    EXPECT_LT(error(decoder_.rotated_cache(policy, KvType::kF32, 32)), 2e-3);
    EXPECT_LT(error(decoder_.rotated_cache(policy, KvType::kQ8_0, 32)), 2e-2 * scale);
    EXPECT_LT(error(decoder_.rotated_cache(policy, KvType::kQ4_0, 32)), 0.2 * scale);
  }
}

// What a token sees lies in f16 as long as it is no further back than the newest tokens are kept
// for: then codes are as good as f16, but for a sum in two parts. And where that ends it is not.
TEST_P(RotatedCache, KeepsTheNewestTokensInF16) {
  const int chunk = 32;
  const auto error = [&](const CachePolicy& policy) {
    const KvCache codes = decoder_.cache(policy, KvType::kQ4_0, chunk);
    if (!codes.has_newest()) return -1.0;
    return test::relative_error(logits(codes.clone(), chunk),
                                logits(decoder_.cache(policy, KvType::kF16, chunk), chunk));
  };
  const double within = error({4, 15});
  if (within < 0) GTEST_SKIP() << "layers that attend to other layers' keys";
  EXPECT_EQ(within, 0);
  EXPECT_GT(error({4, 128}), 0);
}

INSTANTIATE_TEST_SUITE_P(Every, RotatedCache, testing::ValuesIn(test::tiny_shapes()),
                         test::ByParameter());

// A factor for each two dimensions that rotate together, by which large queries and small keys
// become alike: of squares that differ 256 times, 4.
TEST(RotatedCache, BalancesKeysWithTheQueriesThatMeetThem) {
  const MadeModel model = test::make(find_shape("tiny", "qwen3"));
  const gguf::File file = test::parse(model);
  const Config config = read_config(file);
  Weights weights = load_weights(file, config);
  LayerWeights& layer = weights.layers[1];
  layer.q_norm.weight.assign(layer.q_norm.weight.size(), 1.0f);
  layer.k_norm.weight.assign(layer.k_norm.weight.size(), 0.5f);
  const std::size_t other = layer.q_norm.weight.size() / 2;
  layer.q_norm.weight[0] = layer.q_norm.weight[other] = 16;
  const std::vector<float> factors = key_balances(config, weights)[1];
  const Heads heads = config.heads(1);
  ASSERT_EQ(factors.size(), static_cast<std::size_t>(heads.n_kv_heads * heads.head_dim));
  double product = 1;
  for (std::size_t d = 0; d < 2 * other; ++d) {
    EXPECT_FLOAT_EQ(factors[d] / factors[1], d % other == 0 ? 4.0f : 1.0f) << d;
    product *= factors[d];
  }
  EXPECT_NEAR(product, 1, 1e-4);
}

TEST(RotatedCache, CodesHalveWhatQ8Takes) {
  const test::LoadedDecoder decoder(test::parse(test::make(find_shape("tiny", "llama"))));
  CacheShape shape = decoder.shape({4, 2043}, KvType::kQ8_0, 256);
  for (KvHeads& heads : shape.heads) heads.dim = 64;
  const auto q8 = static_cast<double>(KvCache::bytes_of(shape));
  shape.type = KvType::kQ4_0;
  shape.is_rotated = true;
  const auto q4 = static_cast<double>(KvCache::bytes_of(shape));
  EXPECT_LT(q4 / q8, 0.7);
  EXPECT_GT(q4 / q8, 0.5);
}

}  // namespace
}  // namespace runnel
