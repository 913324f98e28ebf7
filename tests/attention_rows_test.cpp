// Attention of many query rows at once against that of each row alone: the same bits, whatever else
// is attended to in the call and wherever its tiles begin.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/cache_line.h"
#include "kernels/kernels.h"
#include "support/numbers.h"
#include "support/parameters.h"

namespace runnel::kernels {
namespace {

constexpr int kSinks = 5;
constexpr std::int64_t kWindow = 150;
constexpr int kTokens = 23;
constexpr std::int64_t kPosition = 1000;  // of the first of them
constexpr int kHeads = 3;                 // that share a head of the cache
constexpr int kRows = kTokens * kHeads;
constexpr std::int64_t kRing = 13;  // tiles

struct Area {
  std::vector<std::byte> keys, values;
  std::vector<std::uint16_t> key_scales, value_scales;
  KvArea area;

  Area(KvFormat format, int head_dim, std::int64_t n_tiles, unsigned seed) {
    const auto n = static_cast<std::size_t>(n_tiles * kTile * (head_dim + 31));
    keys.resize(4 * n);
    values.resize(4 * n);
    key_scales.resize(n);
    value_scales.resize(n);
    area = {keys.data(), values.data(), key_scales.data(), value_scales.data(), n_tiles, format};
    for (std::int64_t slot = 0; slot < n_tiles * kTile; ++slot) {
      const auto dims = static_cast<std::size_t>(head_dim);
      const auto at = seed + 2 * static_cast<unsigned>(slot);
      store_kv(area, head_dim, slot, test::gaussian(dims, at).data(),
               test::gaussian(dims, at + 1).data());
    }
  }
};

class RowsOfAttention : public testing::TestWithParam<const Table*> {
 protected:
  // Outputs of the rows [first, first + n), attended to in one call.
  static std::vector<float> outputs(const Table& table, Attention a, std::vector<QueryRow> rows) {
    const std::int64_t oldest = std::max(rows.front().position - a.window, a.first);
    a.oldest_tile = oldest / kTile;
    a.newest_tile = rows.back().position / kTile;
    std::vector<float> out(rows.size() * static_cast<std::size_t>(a.head_dim));
    for (std::size_t r = 0; r < rows.size(); ++r)
      rows[r].out = &out[r * static_cast<std::size_t>(a.head_dim)];
    auto scratch = cache_lines(table.attention_scratch_bytes(a.head_dim));
    table.attend(a, rows.data(), static_cast<int>(rows.size()), scratch.front().bytes);
    return out;
  }

  void expect_same_alone(KvFormat format, int head_dim, float softcap, float slope) const {
    const Area sinks(format == KvFormat::kQ4_0 ? KvFormat::kF16 : format, head_dim, 1, 1);
    const Area ring(format, head_dim, kRing, 100);
    const auto dims = static_cast<std::size_t>(head_dim);
    const auto queries = test::gaussian(2 * kRows * dims, 3);
    const Attention a = {.head_dim = head_dim,
                         .sinks = sinks.area,
                         .ring = ring.area,
                         .n_sinks = kSinks,
                         .window = kWindow,
                         .sink_reach = std::int64_t{1} << 60,
                         .first = kSinks,
                         .scale = 0.3f,
                         .softcap = softcap};
    std::vector<QueryRow> rows;
    for (int r = 0; r < kRows; ++r) {
      const float* query = &queries[2 * static_cast<std::size_t>(r) * dims];
      rows.push_back({.query = query,
                      .sink_query = query + dims,
                      .position = kPosition + r / kHeads,
                      .cache_position = kSinks + kWindow,
                      .bias_slope = slope,
                      .sink_logit = -std::numeric_limits<float>::infinity()});
    }
    const std::vector<float> together = outputs(*GetParam(), a, rows);
    for (const int n : {1, kHeads, 7, 10}) {
      for (int first = 0; first + n <= kRows; first += n) {
        const auto some = outputs(*GetParam(), a, {rows.begin() + first, rows.begin() + first + n});
        ASSERT_TRUE(std::equal(some.begin(), some.end(),
                               together.begin() + static_cast<std::int64_t>(dims) * first))
            << "rows " << first << " to " << first + n << ", head_dim " << head_dim << ", format "
            << static_cast<int>(format);
      }
    }
  }
};

TEST_P(RowsOfAttention, AreTheSameAloneAndTogether) {
  for (const int head_dim : {33, 64, 80, 256}) {
    for (const KvFormat format :
         {KvFormat::kF32, KvFormat::kF16, KvFormat::kBF16, KvFormat::kQ8_0, KvFormat::kQ4_0}) {
      expect_same_alone(format, head_dim, 0, 0);
      expect_same_alone(format, head_dim, 2.5f, 0.07f);
    }
  }
}

std::vector<const Table*> tables() {
  const Tables all = attainable_tables();
  return {all.begin(), all.end()};
}

INSTANTIATE_TEST_SUITE_P(Tables, RowsOfAttention, testing::ValuesIn(tables()), test::ByParameter());

}  // namespace
}  // namespace runnel::kernels
