// What the server counts for whoever looks: speed, likelihood of a long text, tokens that just
// left.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "serve/hub/recent_tokens.h"
#include "serve/hub/series.h"
#include "serve/hub/speed.h"

namespace runnel::serve {
namespace {

using std::chrono::milliseconds;

TEST(Speed, IsThatOfSteadyWorkFromTheSecondTokenOn) {
  Speed speed;
  const Speed::Clock::time_point begin = Speed::Clock::now();
  speed.add(1, begin);
  EXPECT_EQ(speed.per_second(begin), 0);
  for (int i = 1; i <= 400; ++i) {
    const auto now = begin + i * milliseconds(50);
    speed.add(1, now);
    EXPECT_NEAR(speed.per_second(now), 20, 0.5) << i;
  }
}

TEST(Speed, FollowsAndForgets) {
  Speed speed;
  Speed::Clock::time_point now = Speed::Clock::now();
  for (int i = 0; i < 200; ++i) speed.add(1, now += milliseconds(100));
  for (int i = 0; i < 300; ++i) speed.add(1, now += milliseconds(50));
  EXPECT_NEAR(speed.per_second(now), 20, 1);
  EXPECT_EQ(speed.per_second(now + milliseconds(3100)), 0);
  speed.add(1, now + milliseconds(60000));  // a pause is not slowness
  speed.add(1, now + milliseconds(60050));
  EXPECT_NEAR(speed.per_second(now + milliseconds(60050)), 20, 0.5);
}

TEST(Series, StaysShortAndKeepsTheMean) {
  Series series;
  for (int i = 0; i < 100000; ++i) series.add(i % 2 == 0 ? -1 : -3);
  EXPECT_EQ(series.n(), 100000);
  EXPECT_NEAR(series.mean(), -2, 1e-9);
  EXPECT_LT(series.points().size(), Series::kMostPoints);
  EXPECT_GE(series.points().size(), Series::kMostPoints / 2);
  for (const double point : series.points()) EXPECT_NEAR(point, -2, 1e-9);
  EXPECT_EQ(static_cast<std::int64_t>(series.points().size()), 100000 / series.per_point());
}

TEST(RecentTokens, KnowsWhatHasJustLeftTheWindow) {
  constexpr std::int64_t kMeasuredWindow = 10;
  RecentTokens recent(kMeasuredWindow);
  for (Token token = 0; token < 500; ++token) {
    recent.push({&token, 1});
    const std::vector<Token> left =
        recent.before_last(kMeasuredWindow, RecentTokens::kBehindWindow);
    const std::int64_t n_left =
        std::clamp<std::int64_t>(token + 1 - kMeasuredWindow, 0, RecentTokens::kBehindWindow);
    ASSERT_EQ(std::ssize(left), n_left);
    for (std::int64_t i = 0; i < n_left; ++i)
      EXPECT_EQ(left[static_cast<std::size_t>(i)], token + 1 - kMeasuredWindow - n_left + i);
  }
}

TEST(RecentTokens, KnowsNothingBeforeItsFirst) {
  const RecentTokens nothing;
  EXPECT_TRUE(nothing.before_last(3, 4).empty());
}

}  // namespace
}  // namespace runnel::serve
