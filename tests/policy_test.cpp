// The cache policy, against its definition read aloud.
#include "stream/policy.h"

#include <gtest/gtest.h>

namespace runnel {
namespace {

TEST(SinkWindow, KeepsTheFirstTokensForEver) {
  const LayerSight sight = LayerSight::of({.sinks = 4, .window = 10}, 0);
  for (const std::int64_t query : {0LL, 3LL, 14LL, 15LL, 1000LL, 1LL << 40}) {
    for (std::int64_t key = 0; key < 4; ++key)
      EXPECT_EQ(sight.sees(key, query), key <= query) << key << " " << query;
  }
}

TEST(SinkWindow, SeesTheSinksTheWindowAndItself) {
  for (const int sinks : {0, 1, 4, 20}) {
    for (const std::int64_t window : {1, 5, 17}) {
      const CachePolicy policy = {sinks, window};
      const LayerSight sight = LayerSight::of(policy, 0);
      for (std::int64_t query = 0; query < 80; ++query) {
        std::int64_t n_seen = 0;
        for (std::int64_t key = 0; key < 100; ++key) {
          const bool is_visible = key <= query && (key < sinks || query - key <= window);
          EXPECT_EQ(sight.sees(key, query), is_visible);
          n_seen += is_visible;
        }
        EXPECT_EQ(n_seen, policy.cache_position(query) + 1) << "query " << query;
        EXPECT_EQ(policy.evicted(query), query - policy.cache_position(query));
      }
    }
  }
}

TEST(DensePolicy, EvictsNothing) {
  const CachePolicy policy = {4, kUnbounded};
  EXPECT_EQ(policy.cache_position(1LL << 40), 1LL << 40);
  EXPECT_EQ(policy.evicted(1LL << 40), 0);
  EXPECT_TRUE(LayerSight::of(policy, 0).sees(17, 1LL << 40));
}

TEST(LocalLayer, SeesWhatItWouldSeeOfAFreshForwardOverTheCache) {
  // Positions inside the cache: sink i at i, window entry j at c - (p - j), the query at c.
  for (const int local : {1, 3, 8, 12, 30}) {
    const CachePolicy policy = {.sinks = 4, .window = 9};
    const LayerSight sight = LayerSight::of(policy, local);
    for (std::int64_t query = 0; query < 60; ++query) {
      const std::int64_t c = policy.cache_position(query);
      for (std::int64_t key = 0; key <= query; ++key) {
        const bool in_cache = key < policy.sinks || query - key <= policy.window;
        const std::int64_t distance = key < policy.sinks ? c - key : query - key;
        EXPECT_EQ(sight.sees(key, query), in_cache && distance < local)
            << local << " " << key << " " << query;
      }
    }
  }
}

TEST(LocalLayer, HoldsNoMoreThanItCanSee) {
  EXPECT_EQ(LayerSight::of({4, 2043}, 128).window, 127);
  EXPECT_EQ(LayerSight::of({4, 2043}, 128).sinks, 0);
  EXPECT_EQ(LayerSight::of({4, 100}, 128).window, 100);
}

}  // namespace
}  // namespace runnel
