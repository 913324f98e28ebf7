// Streams that share a step against the same streams alone.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "support/decoder_fixture.h"
#include "support/paths.h"

namespace runnel {
namespace {

struct Part {
  CachePolicy policy;
  KvType type;
  Softmax softmax;
  std::vector<Token> tokens;
};

std::vector<Token> random_tokens(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(n);
  for (Token& token : tokens) token = static_cast<Token>(random() % 500);
  return tokens;
}

TEST(Batch, GivesEachStreamTheBitsItGetsAlone) {
  for (const char* name :
       {"models/llama-gqa.gguf", "models/mpt.gguf", "models/gpt-oss-yarn.gguf"}) {
    SCOPED_TRACE(name);
    test::LoadedDecoder decoder(test::fixture(name), 2);
    const std::vector<Part> parts = {
        {{4, 12}, KvType::kF32, Softmax::kStandard, random_tokens(90, 1)},
        {{0, 7}, KvType::kQ8_0, Softmax::kOffByOne, random_tokens(70, 2)},
        {{2, kUnbounded}, KvType::kF16, Softmax::kStandard, random_tokens(80, 3)},
        {{9, 30}, KvType::kBF16, Softmax::kStandard, random_tokens(65, 4)},
    };
    std::vector<std::vector<float>> want;
    std::vector<KvCache> caches;
    for (const Part& part : parts) {
      KvCache cache = decoder.cache(part.policy, part.type, 16);
      want.emplace_back();
      decoder.feed(cache, part.tokens, 16, part.softmax,
                   [&](std::size_t, std::span<const float> logits) {
                     want.back().insert(want.back().end(), logits.begin(), logits.end());
                   });
      caches.push_back(decoder.cache(part.policy, part.type, 16));
    }
    // Steps of different sizes, streams that end early, and some that want no logits of their
    // prompt.
    std::vector<std::vector<float>> got(parts.size());
    std::vector<std::size_t> fed(parts.size());
    for (int step = 0; fed != std::vector<std::size_t>{90, 70, 80, 65}; ++step) {
      std::vector<Segment> batch;
      std::vector<std::size_t> stream_of;
      for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::size_t n = std::min<std::size_t>(
            1 + (static_cast<std::size_t>(step) * 5 + i * 3) % 16, parts[i].tokens.size() - fed[i]);
        if (n == 0) continue;
        batch.push_back({&caches[i], std::span<const Token>(parts[i].tokens).subspan(fed[i], n),
                         parts[i].softmax, Segment::Logits::kAll});
        stream_of.push_back(i);
        fed[i] += n;
      }
      decoder.decoder().step(batch,
                             [&](std::size_t segment, std::size_t, std::span<const float> logits) {
                               auto& all = got[stream_of[segment]];
                               all.insert(all.end(), logits.begin(), logits.end());
                             });
    }
    for (std::size_t i = 0; i < parts.size(); ++i) EXPECT_EQ(got[i], want[i]) << "stream " << i;
  }
}

TEST(Batch, ReportsOnlyTheLogitsThatAreWanted) {
  test::LoadedDecoder decoder(test::fixture("models/llama-gqa.gguf"));
  const std::vector<Token> tokens = random_tokens(5, 5);
  std::vector<KvCache> caches;
  for (int i = 0; i < 3; ++i) caches.push_back(decoder.cache({4, 12}, KvType::kF32, 8));
  const std::vector<Segment> batch = {
      {&caches[0], tokens, Softmax::kStandard, Segment::Logits::kNone},
      {&caches[1], tokens, Softmax::kStandard, Segment::Logits::kLast},
      {&caches[2], tokens, Softmax::kStandard, Segment::Logits::kAll}};
  std::vector<std::pair<std::size_t, std::size_t>> seen;
  decoder.decoder().step(batch, [&](std::size_t segment, std::size_t token,
                                    std::span<const float>) { seen.emplace_back(segment, token); });
  const std::vector<std::pair<std::size_t, std::size_t>> want = {{1, 4}, {2, 0}, {2, 1},
                                                                 {2, 2}, {2, 3}, {2, 4}};
  EXPECT_EQ(seen, want);
}

TEST(Batch, GivesTheLogitsThatAreWantedTheBitsOfAll) {
  for (const char* model : {"models/llama-gqa.gguf", "models/falcon-mqa.gguf"}) {
    test::LoadedDecoder decoder(test::fixture(model));
    const std::vector<Token> tokens = random_tokens(11, 5);
    KvCache of_all = decoder.cache({4, 6}, KvType::kF16, 16);
    KvCache of_last = decoder.cache({4, 6}, KvType::kF16, 16);
    const std::vector<float> want = decoder.all_logits(of_all, tokens, 11);
    const Segment segment = {&of_last, tokens, Softmax::kStandard, Segment::Logits::kLast};
    std::vector<float> got;
    decoder.decoder().step({&segment, 1},
                           [&](std::size_t, std::size_t token, std::span<const float> logits) {
                             EXPECT_EQ(token, 10u);
                             got.assign(logits.begin(), logits.end());
                           });
    EXPECT_TRUE(std::equal(got.begin(), got.end(), want.end() - std::ssize(got), want.end()));
    EXPECT_EQ(decoder.all_logits(of_last, tokens, 3), decoder.all_logits(of_all, tokens, 3));
  }
}

TEST(AttentionWeights, AreThoseOfTheSinksWhileNothingElseIsThere) {
  test::LoadedDecoder decoder(test::fixture("models/llama-gqa.gguf"), 1);
  KvCache cache = decoder.cache({70, 20}, KvType::kF32, 16);
  std::int64_t n_rows = 0;
  decoder.decoder().observe_attention([&](const AttentionWeights& w) {
    double sum = 0;
    for (const float weight : w.sinks) sum += static_cast<double>(weight);
    for (const float weight : w.window) sum += static_cast<double>(weight);
    ASSERT_NEAR(sum, 1, 1e-5);
    ++n_rows;
  });
  decoder.feed(cache, random_tokens(100, 6), 16, Softmax::kStandard,
               [](std::size_t, std::span<const float>) {});
  EXPECT_EQ(n_rows, 100 * 2 * 4);  // tokens, layers, heads
}

TEST(AttentionWeights, SumToOneOrLessAndMatchWhatIsSeen) {
  for (const Softmax softmax : {Softmax::kStandard, Softmax::kOffByOne}) {
    test::LoadedDecoder decoder(test::fixture("models/llama-gqa.gguf"), 1);
    KvCache cache = decoder.cache({4, 20}, KvType::kF32, 16);
    const std::vector<Token> tokens = random_tokens(100, 6);
    const LayerSight sight = cache.sight(0);
    std::int64_t n_rows = 0;
    decoder.decoder().observe_attention([&](const AttentionWeights& w) {
      const std::int64_t query = cache.position() + static_cast<std::int64_t>(w.token);
      double sum = 0;
      for (const float weight : w.sinks) sum += static_cast<double>(weight);
      for (std::size_t i = 0; i < w.window.size(); ++i) {
        const std::int64_t key = w.first_position + static_cast<std::int64_t>(i);
        const bool is_seen = key >= sight.sinks && sight.sees(key, query);
        ASSERT_EQ(w.window[i] > 0, is_seen) << key << " from " << query;
        sum += static_cast<double>(w.window[i]);
      }
      if (softmax == Softmax::kStandard) {
        ASSERT_NEAR(sum, 1, 1e-5);
      } else {
        ASSERT_LT(sum, 1);
      }
      ++n_rows;
    });
    decoder.feed(cache, tokens, 16, softmax, [](std::size_t, std::span<const float>) {});
    EXPECT_EQ(n_rows, 100 * 2 * 4);  // tokens, layers, heads
  }
}

}  // namespace
}  // namespace runnel
