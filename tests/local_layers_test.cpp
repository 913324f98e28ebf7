// Layers that see their last few tokens only keep no more than those.
#include <gtest/gtest.h>

#include "support/made_models.h"
#include "support/parameters.h"

namespace runnel {
namespace {

constexpr int kChunk = 16;

std::size_t tiles(std::int64_t n_slots) {
  return static_cast<std::size_t>((n_slots + kernels::kTile - 1) / kernels::kTile);
}

class LocalLayers : public testing::TestWithParam<const char*> {
 protected:
  ModelShape shape_ = find_shape("tiny", GetParam());
  MadeModel model_ = test::make(shape_);
  test::LoadedDecoder decoder_{test::parse(model_)};
};

// Local layers of the tiny models see 8 tokens: a ring of 7 earlier ones and the chunk, no sinks.
TEST_P(LocalLayers, KeepARingAsLongAsTheySee) {
  const CachePolicy policy = {.sinks = 4, .window = 1000};
  const std::size_t local = tiles(7 + kChunk);
  const std::size_t global = tiles(policy.sinks) + tiles(policy.window + kChunk);
  std::size_t n_tiles = 0;
  for (int layer = 0; layer < shape_.n_layers; ++layer)
    n_tiles += decoder_.config().local_window(layer) == 8 ? local : global;
  const std::size_t tile_bytes = static_cast<std::size_t>(kernels::kTile) * 2 * sizeof(float) *
                                 static_cast<std::size_t>(shape_.n_kv_heads * shape_.head_dim);
  EXPECT_EQ(KvCache::bytes_of(decoder_.shape(policy, KvType::kF32, kChunk)), n_tiles * tile_bytes);
}

TEST_P(LocalLayers, AlternateWithLayersThatSeeEverything) {
  int n_local = 0;
  for (int layer = 0; layer < shape_.n_layers; ++layer)
    n_local += decoder_.config().local_window(layer) > 0 ? 1 : 0;
  EXPECT_GT(n_local, 0);
  EXPECT_LT(n_local, shape_.n_layers);
  EXPECT_GT(decoder_.config().local_window(0), 0);  // the first is local in all these models
}

// Windows longer and shorter than a local layer's sight, and no window at all.
TEST_P(LocalLayers, GiveTheSameLogitsInChunksOfAnySize) {
  const std::vector<Token> tokens = test::some_tokens(150, shape_.vocabulary_size);
  for (const CachePolicy& policy :
       {CachePolicy{4, 40}, CachePolicy{4, 5}, CachePolicy{0, kUnbounded}}) {
    KvCache single = decoder_.cache(policy, KvType::kF32, 1);
    const std::vector<float> want = decoder_.all_logits(single, tokens, 1);
    for (const int chunk : {2, 7, 64, 150}) {
      KvCache cache = decoder_.cache(policy, KvType::kF32, chunk);
      EXPECT_EQ(decoder_.all_logits(cache, tokens, chunk), want)
          << "chunk " << chunk << " window " << policy.window;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, LocalLayers, testing::Values("gemma2", "gemma3", "gpt-oss"),
                         test::ByParameter());

}  // namespace
}  // namespace runnel
