// Tokens are drawn from the distribution that the options describe, worked out here the plain way:
// everything sorted, then cut.
#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "runnel/error.h"

namespace runnel {
namespace {

std::vector<float> some_logits(int n) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<std::size_t>(n));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// The probability of each token that may be drawn.
std::map<Token, double> distribution(const std::vector<float>& logits, const SamplingOptions& o) {
  std::vector<std::pair<double, Token>> all;  // -logit, token: the likeliest first
  for (std::size_t i = 0; i < logits.size(); ++i)
    all.emplace_back(-static_cast<double>(logits[i]), static_cast<Token>(i));
  std::sort(all.begin(), all.end());
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < all.size())
    all.resize(static_cast<std::size_t>(o.top_k));
  double total = 0;
  for (const auto& [cost, token] : all) total += std::exp(-cost);
  double kept = 0;
  std::size_t n = 0;
  while (n < all.size() && kept < static_cast<double>(o.top_p) * total)
    kept += std::exp(-all[n++].first);
  if (o.top_p < 1) all.resize(n);
  const double costliest = all.front().first - std::log(static_cast<double>(o.min_p));
  std::erase_if(all, [&](const auto& c) { return c.first > costliest + 1e-6; });
  std::map<Token, double> result;
  double heated_total = 0;
  for (const auto& [cost, token] : all)
    heated_total += result[token] = std::exp((all.front().first - cost) / o.temperature);
  for (auto& [token, weight] : result) weight /= heated_total;
  return result;
}

TEST(Sampler, DrawsFromTheDistributionThatTheOptionsDescribe) {
  constexpr int kDraws = 5000;
  const std::vector<float> logits = some_logits(400);
  for (const int top_k : {0, 1, 40, 5000}) {
    for (const float top_p : {1.0f, 0.95f, 0.3f}) {
      for (const float min_p : {0.0f, 0.05f, 1.0f}) {
        const SamplingOptions options = {
            .temperature = 0.9f, .top_k = top_k, .top_p = top_p, .min_p = min_p};
        SCOPED_TRACE(testing::Message()
                     << "top-k " << top_k << " top-p " << top_p << " min-p " << min_p);
        const std::map<Token, double> want = distribution(logits, options);
        Sampler sampler(options, static_cast<int>(logits.size()));
        std::map<Token, int> got;
        for (int i = 0; i < kDraws; ++i) ++got[sampler.pick(logits, {})];
        for (const auto& [token, count] : got)
          ASSERT_TRUE(want.contains(token)) << "token " << token << " drawn " << count << " times";
        for (const auto& [token, p] : want) {
          const auto drawn = got.find(token);
          const double count = drawn == got.end() ? 0 : drawn->second;
          ASSERT_NEAR(count, p * kDraws, 1 + 5 * std::sqrt(p * kDraws)) << "token " << token;
        }
      }
    }
  }
}

TEST(Sampler, TakesTheLikeliestTokenWithoutTemperatureAndTheFirstOfEqualOnes) {
  Sampler sampler({.temperature = 0}, 4);
  EXPECT_EQ(sampler.pick(std::vector<float>{1, 3, 2, 3}, {}), 1);
}

TEST(Sampler, KeepsTheFirstOfEqualTokens) {
  std::vector<float> logits = some_logits(5000);
  for (float& logit : logits) logit = std::round(logit);
  const std::map<Token, double> want =
      distribution(logits, {.temperature = 1, .top_k = 40, .top_p = 1, .min_p = 0});
  ASSERT_EQ(want.size(), 40u);
  Sampler sampler({.temperature = 10, .top_k = 40, .top_p = 1, .min_p = 0}, 5000);
  std::map<Token, int> got;
  for (int i = 0; i < 2000; ++i) ++got[sampler.pick(logits, {})];
  EXPECT_EQ(got.size(), want.size());
  for (const auto& [token, count] : got) EXPECT_TRUE(want.contains(token)) << token;
}

TEST(Sampler, NeverDrawsWhatIsNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int top_k : {0, 2}) {
    Sampler sampler({.temperature = 1, .top_k = top_k}, 3);
    for (int i = 0; i < 100; ++i) EXPECT_NE(sampler.pick(std::vector<float>{nan, 1, 2}, {}), 0);
  }
}

TEST(Sampler, PenalisesVisibleTokens) {
  const std::vector<float> logits = {2.0f, 1.9f, -1.0f};
  const std::vector<Token> visible = {0, 0, 2};
  SamplingOptions options = {.temperature = 0};
  options.repetition_penalty = 1.2f;
  EXPECT_EQ(Sampler(options, 3).pick(logits, visible), 1);
  options = {.temperature = 0};
  options.frequency_penalty = 0.06f;  // twice seen
  EXPECT_EQ(Sampler(options, 3).pick(logits, visible), 1);
  options.frequency_penalty = 0.04f;
  EXPECT_EQ(Sampler(options, 3).pick(logits, visible), 0);
}

TEST(Sampler, RefusesOptionsOutOfRangeAndNamesThem) {
  try {
    Sampler sampler({.top_p = 0}, 3);
    FAIL() << "top-p 0 was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("top-p"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace runnel
