// Windows that differ from layer to layer.
#include <gtest/gtest.h>

#include "runnel/runnel.h"
#include "support/error_text.h"
#include "support/made_models.h"
#include "support/paths.h"
#include "support/reference_forward.h"

namespace runnel {
namespace {

using Windows = std::vector<std::int64_t>;

TEST(LayerWindows, AreWrittenAsAListWithRepeats) {
  EXPECT_EQ(parse_layer_windows("2048"), Windows{2048});
  EXPECT_EQ(parse_layer_windows("2048,256x3,7"), (Windows{2048, 256, 256, 256, 7}));
  for (const char* bad : {"", "x", "0", "5,", ",5", "5x", "5x0", "5 ,6", "-1", "5x2x2", "5;6",
                          "16777217", "1x1025", "1x1024,1x1024,1x1024,1x1024,1"}) {
    const std::string error = test::error_of([&] { parse_layer_windows(bad); });
    EXPECT_NE(error.find("want W or WxN between commas"), std::string::npos) << bad;
  }
}

class LayerWindows : public testing::TestWithParam<ModelShape> {
 protected:
  // Longest and shortest in turn, also where the model's own local layers see 8 tokens.
  Windows windows() const {
    Windows all;
    for (int layer = 0; layer < GetParam().n_layers; ++layer)
      all.push_back(layer % 3 == 0 ? 30 : layer % 3 == 1 ? 5 : 12);
    return all;
  }
  std::vector<Token> tokens_ = test::some_tokens(60, GetParam().vocabulary_size);
  MadeModel model_ = test::make(GetParam());
  test::LoadedDecoder decoder_{test::parse(model_), 2};
};

// In double, from the definition: every layer has its own cache and its own places in it.
TEST_P(LayerWindows, AgreeWithTheReference) {
  if (GetParam().architecture == "gemma4")
    GTEST_SKIP() << "the reference of gemma4 has one window for all layers";
  const Windows all = windows();
  const auto want = test::reference_logits(test::parse(model_), tokens_, 4, all);
  for (const int chunk : {1, 7, 60}) {
    KvCache cache = decoder_.cache(4, all, KvType::kF32, chunk);
    EXPECT_LT(test::relative_error(decoder_.all_logits(cache, tokens_, chunk), want), 1e-5)
        << "chunk " << chunk;
  }
}

TEST_P(LayerWindows, GiveTheSameLogitsInChunksOfAnySize) {
  const Windows all = windows();
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8_0}) {
    KvCache single = decoder_.cache(4, all, type, 1);
    const auto want = decoder_.all_logits(single, tokens_, 1);
    for (const int chunk : {3, 60}) {
      KvCache cache = decoder_.cache(4, all, type, chunk);
      EXPECT_EQ(decoder_.all_logits(cache, tokens_, chunk), want) << "chunk " << chunk;
    }
  }
}

// Streams with other windows in the same step change nothing.
TEST_P(LayerWindows, OfTwoStreamsKeepApartInOneStep) {
  const Windows all = windows();
  const Windows reversed(all.rbegin(), all.rend());
  const auto alone = [&](const Windows& w) {
    KvCache cache = decoder_.cache(4, w, KvType::kF32, 4);
    return decoder_.all_logits(cache, tokens_, 4);
  };
  const std::vector<float> want[2] = {alone(all), alone(reversed)};
  KvCache first = decoder_.cache(4, all, KvType::kF32, 4);
  KvCache second = decoder_.cache(4, reversed, KvType::kF32, 4);
  std::vector<float> got[2];
  for (std::size_t at = 0; at < tokens_.size(); at += 4) {
    const auto four = std::span<const Token>(tokens_).subspan(at, 4);
    const Segment batch[] = {{&first, four, Softmax::kStandard, Segment::Logits::kAll},
                             {&second, four, Softmax::kStandard, Segment::Logits::kAll}};
    decoder_.decoder().step(batch,
                            [&](std::size_t segment, std::size_t, std::span<const float> logits) {
                              got[segment].insert(got[segment].end(), logits.begin(), logits.end());
                            });
  }
  EXPECT_EQ(got[0], want[0]);
  EXPECT_EQ(got[1], want[1]);
}

INSTANTIATE_TEST_SUITE_P(Every, LayerWindows, testing::ValuesIn(test::tiny_shapes()),
                         test::ByParameter());

const Model& bundled() {
  static const Model model = Model::load(test::bundled_model(), {.threads = 1});
  return model;
}

TEST(LayerWindows, RepeatOverTheLayersAndCostTheirOwnBytes) {
  const StreamOptions resolved = bundled().resolve({.layer_windows = {100, 20, 20}});
  ASSERT_EQ(std::ssize(resolved.layer_windows), bundled().layers());
  for (std::size_t i = 0; i < resolved.layer_windows.size(); ++i)
    EXPECT_EQ(resolved.layer_windows[i], i % 3 == 0 ? 100 : 20);
  EXPECT_EQ(resolved.window, 100);
  EXPECT_EQ(bundled().resolve(resolved).layer_windows, resolved.layer_windows);
  EXPECT_LT(bundled().stream_bytes(resolved), bundled().stream_bytes({.window = 100}));
  EXPECT_GT(bundled().stream_bytes(resolved), bundled().stream_bytes({.window = 20}));
}

TEST(LayerWindows, OfOneLengthAreThatWindow) {
  const StreamOptions resolved = bundled().resolve({.layer_windows = {50, 50}});
  EXPECT_TRUE(resolved.layer_windows.empty());
  EXPECT_EQ(resolved.window, 50);
}

TEST(LayerWindows, AreRefusedWhereTheyMeanNothing) {
  const auto error = [](const StreamOptions& options) {
    return test::error_of([&] { bundled().resolve(options); });
  };
  EXPECT_NE(
      error({.policy = Policy::kDense, .layer_windows = {5, 6}}).find("policy sink or window"),
      std::string::npos);
  EXPECT_NE(error({.policy = Policy::kRecompute, .layer_windows = {5, 6}}).find("policy sink"),
            std::string::npos);
  EXPECT_NE(error({.layer_windows = {5, 0}}).find("layer_windows: want"), std::string::npos);
  EXPECT_NE(error({.window = 7, .layer_windows = {5, 6}}).find("window or layer_windows"),
            std::string::npos);
}

TEST(LayerWindows, CountAsEvictedWhatNoLayerSees) {
  Stream stream = bundled().open({.sinks = 4, .layer_windows = {40, 10}});
  stream.feed(test::some_tokens(100, bundled().vocabulary_size()));
  EXPECT_EQ(stream.evicted(), 100 - 44);
  EXPECT_EQ(stream.horizon(), 60);
  EXPECT_EQ(std::ssize(stream.visible_tokens()), 44);
}

}  // namespace
}  // namespace runnel
