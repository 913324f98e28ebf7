// Models with layers that keep a state instead of keys and values: the state is a part of the
// stream, whatever is done with it. And for every architecture: chunks are single steps, a batch is
// its streams alone, to the last bit.
#include <gtest/gtest.h>

#include "runnel/runnel.h"
#include "support/error_text.h"
#include "support/made_models.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

constexpr CachePolicy kPolicy = {.sinks = 4, .window = 12};

class EveryArchitecture : public testing::TestWithParam<ModelShape> {};

TEST_P(EveryArchitecture, TakesChunksAsSingleStepsToTheLastBit) {
  const MadeModel model = test::make(GetParam());
  test::LoadedDecoder decoder(test::parse(model));
  const std::vector<Token> tokens = test::some_tokens(40, GetParam().vocabulary_size);
  KvCache single = decoder.cache(kPolicy, KvType::kF16, 1);
  const std::vector<float> want = decoder.all_logits(single, tokens, 1);
  for (const int chunk : {3, 40}) {
    KvCache cache = decoder.cache(kPolicy, KvType::kF16, chunk);
    EXPECT_EQ(decoder.all_logits(cache, tokens, chunk), want) << "chunk " << chunk;
  }
}

TEST_P(EveryArchitecture, TakesStreamsTogetherAsAlone) {
  const MadeModel model = test::make(GetParam());
  test::LoadedDecoder decoder(test::parse(model));
  const std::vector<Token> tokens = test::some_tokens(40, GetParam().vocabulary_size);
  const auto first = std::span(tokens).first(25);
  const auto second = std::span(tokens).subspan(18, 20);
  KvCache a = decoder.cache(kPolicy, KvType::kF16, 25);
  KvCache b = decoder.cache(kPolicy, KvType::kF16, 25);
  std::vector<float> want = decoder.all_logits(a, first, 25);
  const std::vector<float> of_b = decoder.all_logits(b, second, 25);
  want.insert(want.end(), of_b.begin(), of_b.end());
  KvCache c = decoder.cache(kPolicy, KvType::kF16, 25);
  KvCache d = decoder.cache(kPolicy, KvType::kF16, 25);
  const Segment batch[] = {{&c, first, Softmax::kStandard, Segment::Logits::kAll},
                           {&d, second, Softmax::kStandard, Segment::Logits::kAll}};
  std::vector<float> got;
  decoder.decoder().step(batch, [&](std::size_t, std::size_t, std::span<const float> logits) {
    got.insert(got.end(), logits.begin(), logits.end());
  });
  EXPECT_EQ(got, want);
}

INSTANTIATE_TEST_SUITE_P(Every, EveryArchitecture, testing::ValuesIn(test::tiny_shapes()),
                         test::ByParameter());

class StateStream : public testing::TestWithParam<const char*> {
 protected:
  const MadeModel made_ = test::make(find_shape("tiny", GetParam()));
  const Model model_ = Model::load(made_.bytes(), "made", {.threads = 1});

  static StreamOptions options() {
    StreamOptions options;
    options.window = 20;
    options.chunk = 16;
    return options;
  }
  // Past its window.
  Stream opened() const {
    Stream stream = model_.open(options());
    stream.feed(test::some_tokens(50, model_.vocabulary_size()));
    for (int i = 0; i < 20; ++i) stream.next();
    return stream;
  }
  static std::vector<Token> next(Stream& stream, int n) {
    std::vector<Token> tokens;
    for (int i = 0; i < n; ++i) tokens.push_back(stream.next().token);
    return tokens;
  }
};

TEST_P(StateStream, GoesOnAfterAForkAsTheOriginal) {
  Stream stream = opened();
  Stream fork = stream.fork();
  const std::vector<Token> want = next(stream, 30);
  EXPECT_EQ(next(fork, 30), want);
}

TEST_P(StateStream, GoesOnAfterItWasSavedAndResumed) {
  const test::TempDir folder;
  Stream stream = opened();
  stream.save(folder / "stream");
  Stream resumed = model_.resume(folder / "stream");
  const std::vector<Token> want = next(stream, 30);
  EXPECT_EQ(next(resumed, 30), want);
}

TEST_P(StateStream, ForgetsItsStateWhereItIsRecomputed) {
  StreamOptions recompute = options();
  recompute.policy = Policy::kRecompute;
  const std::vector<Token> tokens = test::some_tokens(60, model_.vocabulary_size());
  Stream stream = model_.open(recompute);
  stream.feed(tokens);
  // a fresh stream over the sinks, the window and the last token
  const auto sinks = static_cast<std::size_t>(stream.options().sinks);
  const auto window = static_cast<std::size_t>(*stream.options().window);
  std::vector<Token> seen(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(sinks));
  seen.insert(seen.end(), tokens.end() - static_cast<std::ptrdiff_t>(window) - 1, tokens.end());
  Stream fresh = model_.open(recompute);
  fresh.feed(seen);
  EXPECT_TRUE(std::ranges::equal(stream.logits(), fresh.logits()));
}

TEST_P(StateStream, RefusesGuessesAndLooksBack) {
  StreamOptions guessing = options();
  guessing.draft = 4;
  EXPECT_NE(test::error_of([&] { model_.open(guessing); }).find("draft: want 0"),
            std::string::npos);
  const Stream stream = opened();
  EXPECT_NE(test::error_of([&] { stream.attention(1); }).find("keeps a state"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Every, StateStream,
                         testing::Values("qwen3next", "qwen35", "qwen35moe", "lfm2", "lfm2moe"),
                         test::ByParameter());

}  // namespace
}  // namespace runnel
