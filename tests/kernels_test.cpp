// Every instruction set's kernels against plain computations in double, and against each other.
#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/half.h"
#include "kernels/pack/dequantize.h"
#include "support/numbers.h"
#include "support/packed_matrix.h"
#include "support/parameters.h"
#include "support/prepared_inputs.h"

namespace runnel::kernels {
namespace {

using test::gaussian;

class EveryTable : public testing::TestWithParam<const Table*> {
 protected:
  const Table& table() const { return *GetParam(); }

  // Products with n tokens against sums in double.
  void expect_product(const Matrix& w, int n) const {
    const auto rows = static_cast<int>(w.rows);
    const auto cols = static_cast<int>(w.cols);
    std::vector<float> weights(static_cast<std::size_t>(rows * cols));
    dequantize_row(w.type, w.data, weights.data(), rows * cols);
    const auto x = gaussian(static_cast<std::size_t>(n * cols), 2);
    const auto bias = gaussian(static_cast<std::size_t>(rows), 3);
    test::PreparedInputs inputs(table(), x.data(), n, cols);
    std::vector<CacheLine> scratch = cache_lines(matmul_scratch_bytes(cols));
    constexpr float kUntouched = 77;
    std::vector<float> y(static_cast<std::size_t>(n * rows + 1), kUntouched);
    table().matmul({.w = w,
                    .x = x.data(),
                    .x_stride = cols,
                    .inputs = inputs.data(),
                    .n_tokens = n,
                    .bias = bias.data(),
                    .y = y.data(),
                    .y_stride = rows},
                   0, rows, scratch.front().bytes);
    EXPECT_EQ(y.back(), kUntouched);
    const bool is_rounded = table().numbers(w) == Numbers::kBFloat16;
    const auto as_multiplied = [is_rounded](float v) {
      return static_cast<double>(is_rounded ? bf16_to_f32(f32_to_bf16(v)) : v);
    };
    for (int t = 0; t < n; ++t) {
      for (int r = 0; r < rows; ++r) {
        double want = static_cast<double>(bias[static_cast<std::size_t>(r)]);
        for (int k = 0; k < cols; ++k) {
          want += as_multiplied(weights[static_cast<std::size_t>(r * cols + k)]) *
                  as_multiplied(x[static_cast<std::size_t>(t * cols + k)]);
        }
        ASSERT_NEAR(y[static_cast<std::size_t>(t * rows + r)], want, 2e-5 * (1 + std::sqrt(cols)))
            << rows << "x" << cols << " tokens " << n;
      }
    }
  }
};

std::vector<const Table*> tables() {
  const Tables all = attainable_tables();
  return {all.begin(), all.end()};
}
INSTANTIATE_TEST_SUITE_P(Kernels, EveryTable, testing::ValuesIn(tables()), test::ByParameter());

TEST(Tables, PutThePortableOneFirst) { EXPECT_STREQ(tables().front()->name, "portable"); }

TEST_P(EveryTable, MultipliesAnyShape) {
  for (const int rows : {1, 5, 16, 23, 64}) {
    for (const int cols : {1, 15, 16, 40, 96, 257}) {
      const auto w = gaussian(static_cast<std::size_t>(rows * cols), 1);
      for (const int n : {1, 2, 4, 7})
        expect_product({TensorType::kF32, rows, cols, reinterpret_cast<const std::byte*>(w.data())},
                       n);
    }
  }
}

// Half-precision weights, as they are stored and as some tables pack them: every tail of every
// tile.
TEST_P(EveryTable, MultipliesHalfPrecisionWeightsOfAnyShape) {
  for (const TensorType type : {TensorType::kF16, TensorType::kBF16}) {
    for (const auto& [rows, cols] :
         {std::pair{5, 40}, {23, 33}, {48, 257}, {37, 576}, {64, 1024}, {40, 1056}}) {
      const auto w = gaussian(static_cast<std::size_t>(rows * cols), 1);
      std::vector<std::byte> stored(bytes_of(type, rows * cols));
      quantize_row(type, w.data(), stored.data(), rows * cols);
      const Matrix matrix = {type, rows, cols, stored.data()};
      const test::PackedMatrix packed(table(), matrix);
      for (const int n : {1, 7, 16, 17, 33, 270}) {
        if (n == 270 && cols != 1056) continue;  // the one that is too large for a cache
        expect_product(matrix, n);
        if (packed.matrix().packed != nullptr) expect_product(packed.matrix(), n);
      }
    }
  }
}

constexpr TensorType kAllTypes[] = {
    TensorType::kF32,  TensorType::kF16,  TensorType::kBF16, TensorType::kQ4_0, TensorType::kQ4_1,
    TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ2_K, TensorType::kQ3_K,
    TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K, TensorType::kMXFP4};

TEST_P(EveryTable, GivesATokenTheSameBitsAloneAsInAChunk) {
  constexpr int kRows = 48;
  constexpr int kCols = 512;
  const auto values = gaussian(kRows * kCols, 5);
  const auto x = gaussian(9 * kCols, 6);
  for (const TensorType type : kAllTypes) {
    std::vector<std::byte> blocks(bytes_of(type, kRows * kCols));
    quantize_row(type, values.data(), blocks.data(), kRows * kCols);
    std::vector<CacheLine> scratch = cache_lines(matmul_scratch_bytes(kCols));
    const auto multiply = [&](int first, int n, int first_row, int last_row, float* y) {
      test::PreparedInputs inputs(table(), x.data() + first * kCols, n, kCols);
      const Matmul m = {.w = {type, kRows, kCols, blocks.data()},
                        .x = x.data() + first * kCols,
                        .x_stride = kCols,
                        .inputs = inputs.data(),
                        .n_tokens = n,
                        .y = y + first * kRows,
                        .y_stride = kRows};
      table().matmul(m, first_row, last_row, scratch.front().bytes);
    };
    std::vector<float> chunk(9 * kRows);
    multiply(0, 9, 0, kRows, chunk.data());
    std::vector<float> alone(9 * kRows);
    for (int t = 0; t < 9; ++t) {
      multiply(t, 1, 0, 16, alone.data());
      multiply(t, 1, 16, kRows, alone.data());
    }
    EXPECT_EQ(alone, chunk) << traits(type).name;
  }
}

// ---- attention
// ---------------------------------------------------------------------------------------------------

struct AttentionCase {
  KvFormat format;
  int head_dim;
  double tolerance;
  int n_angles = 0;

  KvFormat sink_format() const { return format == KvFormat::kQ4_0 ? KvFormat::kF16 : format; }
};

// A cache area filled position by position, and what was put in.
struct FilledArea {
  std::vector<std::byte> keys, values;
  std::vector<std::uint16_t> key_scales, value_scales;
  KvArea area;

  FilledArea(KvFormat format, int head_dim, int n_tiles) {
    const auto n = static_cast<std::size_t>(n_tiles * kTile * head_dim);
    keys.resize(4 * n);
    values.resize(4 * n);
    key_scales.resize(n);
    value_scales.resize(n);
    area = {keys.data(), values.data(), key_scales.data(), value_scales.data(), n_tiles, format};
  }
};

// What Q4_0 stored of a position, by the description of its area.
void read_codes(const KvArea& area, int head_dim, std::int64_t slot, float* key, float* value) {
  const auto byte = [](const void* p, std::int64_t at) {
    return static_cast<int>(static_cast<const std::uint8_t*>(p)[at]);
  };
  const auto number = [](int both, bool is_upper, int scale) {
    const int code = is_upper ? both >> 4 : both & 15;
    return static_cast<float>(kKvCodes[code]) / 128 *
           f16_to_f32(static_cast<std::uint16_t>(scale << 8));
  };
  const std::int64_t tile = slot / kTile;
  const std::int64_t lane = slot % kTile;
  const int n_blocks = (head_dim + 15) / 16;
  for (int d = 0; d < head_dim; ++d) {
    key[d] = number(byte(area.keys, (tile * ((head_dim + 1) / 2) + d / 2) * kTile + lane),
                    d % 2 == 1, byte(area.key_scales, (tile * n_blocks + d / 16) * kTile + lane));
    value[d] = number(byte(area.values, (slot * ((head_dim + 31) / 32) + d / 32) * 16 + d % 16),
                      d % 32 >= 16, byte(area.value_scales, slot * n_blocks + d / 16));
  }
}

// Where a position's angle lies in Attention::angles.
std::size_t angle_at(const Attention& a, std::int64_t key, int angle) {
  const std::int64_t slot = key % (a.ring.n_tiles * kTile);
  return static_cast<std::size_t>((slot / kTile * a.n_angles + angle) * kTile + slot % kTile);
}

// Softmax attention of one query by its definition, in double.
std::vector<double> plain_attention(const QueryRow& row, const Attention& a,
                                    const std::vector<float>& keys,
                                    const std::vector<float>& values, std::int64_t n_keys,
                                    double* weight_of_first) {
  const auto d = static_cast<std::size_t>(a.head_dim);
  std::vector<double> scores;
  std::vector<std::size_t> seen;
  for (std::int64_t key = 0; key < n_keys && key <= row.position; ++key) {
    const bool is_sink = key < a.first;
    if (is_sink ? row.cache_position - key > a.sink_reach : row.position - key > a.window) continue;
    double dot = 0;
    const float* query = is_sink ? row.sink_query : row.query;
    for (std::size_t i = 0; i < d; ++i) {
      dot += static_cast<double>(query[i]) *
             static_cast<double>(keys[static_cast<std::size_t>(key) * d + i]);
    }
    for (int i = 0; !is_sink && i < a.n_angles; ++i) {
      dot += static_cast<double>(query[d + static_cast<std::size_t>(i)]) *
             static_cast<double>(f16_to_f32(a.angles[angle_at(a, key, i)]));
    }
    dot *= static_cast<double>(a.scale);
    if (a.softcap > 0)
      dot = static_cast<double>(a.softcap) * std::tanh(dot / static_cast<double>(a.softcap));
    const std::int64_t distance = is_sink ? row.cache_position - key : row.position - key;
    scores.push_back(dot - static_cast<double>(row.bias_slope) * static_cast<double>(distance));
    seen.push_back(static_cast<std::size_t>(key));
  }
  double denominator = std::exp(static_cast<double>(row.sink_logit));
  for (const double score : scores) denominator += std::exp(score);
  std::vector<double> out(d);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const double weight = std::exp(scores[i]) / denominator;
    if (i == 0) *weight_of_first = weight;
    for (std::size_t j = 0; j < d; ++j)
      out[j] += weight * static_cast<double>(values[seen[i] * d + j]);
  }
  return out;
}

void check_attention(const Table& table, const AttentionCase& c, float slope, float softcap,
                     float sink_logit) {
  constexpr int kSinks = 5;
  constexpr std::int64_t kWindow = 40;
  constexpr std::int64_t kTokens = 150;
  constexpr int kRing = 4;  // tiles: 64 slots hold the window and a chunk of up to 24
  const auto d = static_cast<std::size_t>(c.head_dim);
  auto keys = gaussian(kTokens * d, 8);
  auto values = gaussian(kTokens * d, 9);
  const std::size_t query_size = d + static_cast<std::size_t>(c.n_angles);
  const auto queries = gaussian(2 * kTokens * query_size, 10);
  const auto turns = gaussian(kTokens * static_cast<std::size_t>(c.n_angles + 1), 11);
  std::vector<std::uint16_t> angles(static_cast<std::size_t>(kRing * kTile * c.n_angles));
  FilledArea sinks(c.sink_format(), c.head_dim, 1);
  FilledArea ring(c.format, c.head_dim, kRing);
  std::vector<CacheLine> scratch = cache_lines(table.attention_scratch_bytes(c.head_dim));
  for (std::int64_t first = 0; first < kTokens;) {
    const std::int64_t n = std::min<std::int64_t>(1 + first % 7, kTokens - first);
    for (std::int64_t p = first; p < first + n; ++p) {
      const auto at = static_cast<std::size_t>(p) * d;
      const bool is_sink = p < kSinks;
      store_kv(is_sink ? sinks.area : ring.area, c.head_dim, is_sink ? p : p % (kRing * kTile),
               &keys[at], &values[at]);
      if (!is_sink && c.format == KvFormat::kQ4_0)
        read_codes(ring.area, c.head_dim, p % (kRing * kTile), &keys[at], &values[at]);
    }
    Attention a = {.head_dim = c.head_dim,
                   .sinks = sinks.area,
                   .ring = ring.area,
                   .n_sinks = static_cast<int>(std::min<std::int64_t>(kSinks, first + n)),
                   .window = kWindow,
                   .sink_reach = std::int64_t{1} << 60,
                   .first = kSinks,
                   .oldest_tile = std::max<std::int64_t>(first - kWindow, kSinks) / kTile,
                   .newest_tile = (first + n - 1) / kTile,
                   .scale = 0.3f,
                   .softcap = softcap};
    a.angles = angles.data();
    a.n_angles = c.n_angles;
    for (std::int64_t p = first; p < first + n; ++p)
      for (int i = 0; i < c.n_angles; ++i)
        angles[angle_at(a, p, i)] = f32_to_f16(turns[static_cast<std::size_t>(p * c.n_angles + i)]);
    std::vector<float> out(static_cast<std::size_t>(n) * d);
    std::vector<std::vector<float>> weights;
    std::vector<QueryRow> rows;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(first + i) * query_size;
      const auto n_weights = static_cast<std::size_t>((2 + a.newest_tile - a.oldest_tile) * kTile);
      weights.emplace_back(n_weights, -1.0f);
      rows.push_back({.query = &queries[at],
                      .sink_query = &queries[at + kTokens * query_size],
                      .out = &out[static_cast<std::size_t>(i) * d],
                      .position = first + i,
                      .cache_position = std::min<std::int64_t>(first + i, kSinks + kWindow),
                      .bias_slope = slope,
                      .sink_logit = sink_logit,
                      .weights = weights.back().data()});
    }
    table.attend(a, rows.data(), static_cast<int>(n), scratch.front().bytes);
    for (std::int64_t i = 0; i < n; ++i) {
      double first_weight = 0;
      const auto want = plain_attention(rows[static_cast<std::size_t>(i)], a, keys, values, kTokens,
                                        &first_weight);
      for (std::size_t j = 0; j < d; ++j) {
        ASSERT_NEAR(out[static_cast<std::size_t>(i) * d + j], want[j], c.tolerance)
            << "token " << first + i;
      }
      ASSERT_NEAR(weights[static_cast<std::size_t>(i)][0], first_weight, c.tolerance);
      double sum = 0;
      for (const float weight : weights[static_cast<std::size_t>(i)])
        sum += static_cast<double>(weight);
      if (std::isinf(sink_logit)) {
        ASSERT_NEAR(sum, 1, 1e-5);
      } else {
        ASSERT_LT(sum, 1);
      }
    }
    first += n;
  }
}

TEST_P(EveryTable, AttendsAsTheDefinitionSays) {
  const float none = -std::numeric_limits<float>::infinity();
  const double half_tolerance = table().attention_numbers == Numbers::kBFloat16 ? 4e-2 : 5e-3;
  for (const int head_dim : {8, 16, 40, 64, 80, 128, 33}) {
    for (const AttentionCase& c : {AttentionCase{KvFormat::kF32, head_dim, 2e-5},
                                   {KvFormat::kF16, head_dim, half_tolerance},
                                   {KvFormat::kBF16, head_dim, 4e-2},
                                   {KvFormat::kQ8_0, head_dim, 1e-1},
                                   {KvFormat::kQ4_0, head_dim, half_tolerance},
                                   {KvFormat::kQ4_0, head_dim, half_tolerance, head_dim},
                                   {KvFormat::kQ4_0, head_dim, half_tolerance, 3},
                                   {KvFormat::kQ8_0, head_dim, 1e-1, 6}}) {
      SCOPED_TRACE(testing::Message()
                   << "head_dim " << head_dim << " format " << static_cast<int>(c.format));
      check_attention(table(), c, 0, 0, none);
      check_attention(table(), c, 0.07f, 2.5f, 1.5f);
    }
    const AttentionCase exact = {KvFormat::kF32, head_dim, 2e-5};
    check_attention(table(), exact, 0.07f, 0, none);
    check_attention(table(), exact, 0, 2.5f, none);
    check_attention(table(), exact, 0, 0, 0);
    check_attention(table(), exact, 0, 0, 1.5f);
  }
}

// ---- small vectors
// -----------------------------------------------------------------------------------------------

TEST_P(EveryTable, NormalisesAndActivates) {
  for (const int n : {1, 7, 16, 33, 100}) {
    const auto x = gaussian(static_cast<std::size_t>(n), 11);
    const auto weight = gaussian(static_cast<std::size_t>(n), 12);
    const auto bias = gaussian(static_cast<std::size_t>(n), 13);
    double mean = 0;
    double squares = 0;
    for (const float value : x) mean += static_cast<double>(value) / n;
    for (const float value : x)
      squares += static_cast<double>(value) * static_cast<double>(value) / n;
    const double variance = squares - mean * mean;
    std::vector<float> rms(x.size()), layer(x.size()), silu(x.size()), gelu(x.size()),
        oai(x.size()), cap = x, sum = x;
    table().rms_norm(x.data(), weight.data(), 1e-3f, rms.data(), n);
    table().layer_norm(x.data(), weight.data(), bias.data(), 1e-3f, layer.data(), n);
    table().silu(x.data(), bias.data(), silu.data(), n);
    table().gelu(x.data(), nullptr, gelu.data(), n);
    table().swiglu_oai(x.data(), bias.data(), oai.data(), n);
    table().softcap(cap.data(), 1.5f, n);
    table().add(bias.data(), sum.data(), n);
    double exponentials = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto v = static_cast<double>(x[i]);
      const auto w = static_cast<double>(weight[i]);
      const auto b = static_cast<double>(bias[i]);
      EXPECT_NEAR(rms[i], v / std::sqrt(squares + 1e-3) * w, 1e-5);
      EXPECT_NEAR(layer[i], (v - mean) / std::sqrt(variance + 1e-3) * w + b, 2e-5);
      EXPECT_NEAR(silu[i], v / (1 + std::exp(-v)) * b, 1e-5);
      EXPECT_NEAR(gelu[i],
                  0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))),
                  1e-5);
      EXPECT_NEAR(oai[i], v / (1 + std::exp(-1.702 * v)) * (b + 1), 2e-5);
      EXPECT_NEAR(cap[i], 1.5 * std::tanh(v / 1.5), 1e-5);
      EXPECT_EQ(sum[i], x[i] + bias[i]);
      exponentials += std::exp(v);
    }
    EXPECT_NEAR(table().log_sum_exp(x.data(), n), std::log(exponentials), 1e-5);
  }
}

TEST_P(EveryTable, SurvivesExtremeArguments) {
  const std::vector<float> x = {-1e30f, -200, -90, -87, 0, 87, 88, 200, 1e30f};
  std::vector<float> out(x.size());
  table().silu(x.data(), nullptr, out.data(), static_cast<int>(x.size()));
  EXPECT_NEAR(out[0], 0, 1e-6);
  EXPECT_EQ(out[4], 0);
  EXPECT_EQ(out[8], 1e30f);
  for (const float value : out) EXPECT_TRUE(std::isfinite(value));
  EXPECT_EQ(table().log_sum_exp(x.data(), static_cast<int>(x.size())), 1e30f);
}

TEST(Halves, ConvertExactlyBothWays) {
  for (unsigned bits = 0; bits < 0x10000u; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = f16_to_f32(half);
    if (std::isnan(value)) continue;
    ASSERT_EQ(f32_to_f16(value), half);
    ASSERT_EQ(bf16_to_f32(f32_to_bf16(bf16_to_f32(half))), bf16_to_f32(half));
  }
  EXPECT_EQ(f32_to_f16(1.0f + 0x1p-11f), f32_to_f16(1.0f));  // ties to even
  EXPECT_EQ(f32_to_f16(1.0f + 3 * 0x1p-11f), f32_to_f16(1.0f + 0x1p-9f));
  EXPECT_EQ(f32_to_f16(1e6f), 0x7c00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);
  EXPECT_EQ(f32_to_f16(0x1.8p-25f), 1);
}

}  // namespace
}  // namespace runnel::kernels
