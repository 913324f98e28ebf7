// The integer path: packed weights times int8 inputs.
#include "kernels/packed.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <vector>

#include "kernels/blocks.h"
#include "kernels/dequantize.h"
#include "kernels/kernels.h"
#include "model/weights.h"
#include "support/decoder_fixture.h"
#include "support/paths.h"
#include "tokenizer/tokenizer.h"

namespace runnel::kernels {
namespace {

constexpr TensorType kPackedTypes[] = {
    TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0,
    TensorType::kQ2_K, TensorType::kQ3_K, TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K};
constexpr int kCols = 512;
constexpr int kRows = 37;
constexpr int kTokens = 19;

std::vector<float> gaussian(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

// A quantised matrix, packed, and inputs, quantised.
struct Problem {
  std::vector<std::byte> stored;
  std::vector<std::byte> packed;
  std::vector<std::int8_t> q;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
  Matmul matmul;

  Problem(TensorType type, const Table& table)
      : stored(bytes_of(type, kRows * kCols)),
        q(kTokens * kCols),
        scales(q.size() / 32),
        sums(q.size() / 16) {
    const auto weights = gaussian(kRows * kCols, 1);
    quantize_row(type, weights.data(), stored.data(), kRows * kCols);
    const std::size_t group_bytes = packed_group_bytes(*packed_format(type), kCols);
    packed.resize(3 * group_bytes);
    for (int group = 0; group < 3; ++group) {
      pack_group(type, stored.data(), kRows, kCols, group * 16,
                 packed.data() + static_cast<std::size_t>(group) * group_bytes);
    }
    const auto x = gaussian(kTokens * kCols, 2);
    for (int t = 0; t < kTokens; ++t) {
      table.quantize_row(x.data() + t * kCols, kCols, q.data() + t * kCols,
                         scales.data() + t * kCols / 32, sums.data() + t * kCols / 16);
    }
    matmul = {.w = {type, kRows, kCols, stored.data(), packed.data()},
              .x_stride = kCols,
              .quantized = {q.data(), scales.data(), sums.data()},
              .n_tokens = kTokens,
              .y_stride = kRows};
  }
};

class PackedProduct : public testing::TestWithParam<const Table*> {};

std::vector<const Table*> tables() {
  const Tables all = attainable_tables();
  return {all.begin(), all.end()};
}
INSTANTIATE_TEST_SUITE_P(Kernels, PackedProduct, testing::ValuesIn(tables()),
                         [](const auto& parameter) { return std::string(parameter.param->name); });

TEST_P(PackedProduct, IsThatOfTheStoredWeightsWithTheInt8Inputs) {
  const Table& table = *GetParam();
  for (const TensorType type : kPackedTypes) {
    Problem p(type, table);
    std::vector<float> y(kTokens * kRows);
    p.matmul.y = y.data();
    table.matmul(p.matmul, 0, kRows, nullptr);
    std::vector<float> weights(kRows * kCols);
    dequantize_row(type, p.stored.data(), weights.data(), kRows * kCols);
    for (int t = 0; t < kTokens; ++t) {
      for (int r = 0; r < kRows; ++r) {
        double want = 0;
        for (int k = 0; k < kCols; ++k) {
          const auto at = static_cast<std::size_t>(t * kCols + k);
          want += static_cast<double>(weights[static_cast<std::size_t>(r * kCols + k)]) * p.q[at] *
                  static_cast<double>(p.scales[at / 32]);
        }
        ASSERT_NEAR(y[static_cast<std::size_t>(t * kRows + r)], want, 3e-4)
            << traits(type).name << " row " << r;
      }
    }
  }
}

TEST_P(PackedProduct, GivesATokenTheSameBitsAloneAsInAChunk) {
  const Table& table = *GetParam();
  for (const TensorType type : kPackedTypes) {
    Problem p(type, table);
    std::vector<float> chunk(kTokens * kRows);
    p.matmul.y = chunk.data();
    table.matmul(p.matmul, 0, kRows, nullptr);
    std::vector<float> alone(kTokens * kRows);
    for (int t = 0; t < kTokens; ++t) {
      Matmul m = p.matmul;
      m.n_tokens = 1;
      m.quantized = {p.q.data() + t * kCols, p.scales.data() + t * kCols / 32,
                     p.sums.data() + t * kCols / 16};
      m.y = alone.data() + t * kRows;
      table.matmul(m, 16, kRows, nullptr);
      table.matmul(m, 0, 16, nullptr);
    }
    EXPECT_EQ(alone, chunk) << traits(type).name;
  }
}

TEST_P(PackedProduct, TakesTheLargestWeightsAndInputsWithoutOverflow) {
  const Table& table = *GetParam();
  std::vector<BlockQ8_0> row(kCols / 32);
  for (BlockQ8_0& block : row) {
    block.d = 0x3c00;  // 1
    std::fill_n(block.qs, 32, static_cast<std::int8_t>(-128));
  }
  std::vector<std::byte> packed(packed_group_bytes(kPackedQ8_0, kCols));
  pack_group(TensorType::kQ8_0, reinterpret_cast<const std::byte*>(row.data()), 1, kCols, 0,
             packed.data());
  const std::vector<float> x(kCols, 127.0f);
  std::vector<std::int8_t> q(kCols);
  std::vector<float> scales(kCols / 32);
  std::vector<std::int32_t> sums(kCols / 16);
  table.quantize_row(x.data(), kCols, q.data(), scales.data(), sums.data());
  float y = 0;
  table.matmul({.w = {TensorType::kQ8_0, 1, kCols, nullptr, packed.data()},
                .x_stride = kCols,
                .quantized = {q.data(), scales.data(), sums.data()},
                .n_tokens = 1,
                .y = &y,
                .y_stride = 1},
               0, 1, nullptr);
  EXPECT_EQ(y, -128.0f * 127.0f * kCols);
}

TEST_P(PackedProduct, QuantizesInputsToTheNearestOf255Steps) {
  const auto x = gaussian(kCols, 3);
  std::vector<std::int8_t> q(kCols);
  std::vector<float> scales(kCols / 32);
  std::vector<std::int32_t> sums(kCols / 16);
  GetParam()->quantize_row(x.data(), kCols, q.data(), scales.data(), sums.data());
  int sum = 0;
  for (std::size_t i = 0; i < kCols; ++i) {
    ASSERT_NEAR(static_cast<float>(q[i]) * scales[i / 32], x[i], scales[i / 32] * 0.501f);
    sum += q[i];
    if (i % 16 != 15) continue;
    ASSERT_EQ(sums[i / 16], std::exchange(sum, 0));
  }
}

}  // namespace
}  // namespace runnel::kernels

namespace runnel {
namespace {

double mean(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value);
  return sum / static_cast<double>(values.size());
}

TEST(PackedModel, KeepsThePerplexityWithinOnePercentOfFloatProducts) {
  RUNNEL_NEED_SHARED("texts/war_and_peace.txt");
  std::ifstream in(test::shared("texts/war_and_peace.txt"));
  std::string text(20000, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  const gguf::File file = gguf::File::open(test::bundled_model());
  const std::vector<Token> tokens = Tokenizer::from(file)->encode(text, {});
  std::vector<double> nll;
  for (const bool is_packed : {false, true}) {
    test::LoadedDecoder decoder(test::bundled_model(), 2);
    if (is_packed) decoder.pack();
    KvCache cache = decoder.cache({4, 251}, KvType::kF32, 256);
    nll.push_back(mean(decoder.nll(cache, tokens, 256)));
  }
  RecordProperty("float_perplexity", std::to_string(std::exp(nll[0])));
  RecordProperty("packed_perplexity", std::to_string(std::exp(nll[1])));
  std::cout << "perplexity " << std::exp(nll[0]) << " float, " << std::exp(nll[1]) << " packed\n";
  EXPECT_NEAR(std::exp(nll[1]) / std::exp(nll[0]), 1, 0.01);
}

TEST(PackedModel, GivesTheSameBitsInChunksAsInSingleSteps) {
  std::mt19937 random(3);
  std::vector<Token> tokens = {1};
  while (tokens.size() < 120) tokens.push_back(static_cast<Token>(300 + random() % 3000));
  test::LoadedDecoder decoder(test::bundled_model(), 2);
  decoder.pack();
  std::vector<float> single;
  for (const int chunk : {1, 2, 3, 7, 64}) {
    KvCache cache = decoder.cache({4, 20}, KvType::kF16, chunk);
    const std::vector<float> logits = decoder.all_logits(cache, tokens, chunk);
    if (single.empty()) single = logits;
    EXPECT_EQ(logits, single) << "chunk " << chunk;
  }
}

}  // namespace
}  // namespace runnel
