// The integer path: packed weights times int8 inputs.
#include "kernels/pack/packed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/pack/blocks.h"
#include "kernels/pack/dequantize.h"
#include "kernels/pack/spans.h"
#include "model/random_weights.h"
#include "model/weights.h"
#include "support/decoder_fixture.h"
#include "support/made_models.h"
#include "support/numbers.h"
#include "support/packed_matrix.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/prepared_inputs.h"
#include "tokenizer/tokenizer.h"

namespace runnel::kernels {
namespace {

constexpr TensorType kPackedTypes[] = {
    TensorType::kQ4_0,   TensorType::kQ4_1,  TensorType::kQ5_0,   TensorType::kQ5_1,
    TensorType::kQ8_0,   TensorType::kQ2_K,  TensorType::kQ3_K,   TensorType::kQ4_K,
    TensorType::kQ5_K,   TensorType::kQ6_K,  TensorType::kMXFP4,  TensorType::kIQ4_NL,
    TensorType::kIQ4_XS, TensorType::kIQ3_S, TensorType::kIQ3_XXS};
constexpr int kCols = 512;
constexpr int kRows = 37;
constexpr int kTokens = 19;

using test::gaussian;
using test::PackedMatrix;
using test::PreparedInputs;

// A quantised matrix, packed, and inputs, quantised.
struct Problem {
  std::vector<std::byte> stored;
  PackedMatrix packed;
  std::vector<float> x;
  PreparedInputs inputs;
  std::vector<CacheLine> scratch = cache_lines(matmul_scratch_bytes(kCols));
  Matmul matmul;

  Problem(TensorType type, const Table& table)
      : stored(quantised(type)),
        packed(table, {type, kRows, kCols, stored.data()}),
        x(gaussian(kTokens * kCols, 2)),
        inputs(table, x.data(), kTokens, kCols) {
    matmul = {
        .w = packed.matrix(), .inputs = inputs.data(), .n_tokens = kTokens, .y_stride = kRows};
  }

  static std::vector<std::byte> quantised(TensorType type) {
    const auto weights = gaussian(kRows * kCols, 1);
    std::vector<std::byte> stored(bytes_of(type, kRows * kCols));
    if (traits(type).name.starts_with("IQ")) {  // which nobody writes here
      WeightRandom random(1);
      random_weights(type, 1, random, stored.data(), kRows * kCols);
      return stored;
    }
    quantize_row(type, weights.data(), stored.data(), kRows * kCols);
    return stored;
  }
};

class PackedProduct : public testing::TestWithParam<const Table*> {};

std::vector<const Table*> all_tables() {
  const Tables all = attainable_tables();
  return {all.begin(), all.end()};
}
INSTANTIATE_TEST_SUITE_P(Kernels, PackedProduct, testing::ValuesIn(all_tables()),
                         test::ByParameter());

// What rounding scales and minimums changes of a product (spans.h).
double rounding_in_spans(TensorType type) {
  switch (type) {
    case TensorType::kQ3_K:
    case TensorType::kQ6_K:
    case TensorType::kIQ4_XS:
    case TensorType::kIQ3_S:
    case TensorType::kIQ3_XXS:
      return 1e-6;
    case TensorType::kQ4_1:
    case TensorType::kQ5_1:
      return 0.001;
    default:
      return 0.005;
  }
}

// Of all tokens with all rows.
std::vector<float> product_of(Problem& p, const Table& table) {
  std::vector<float> y(kTokens * kRows);
  p.matmul.y = y.data();
  table.matmul(p.matmul, 0, kRows, p.scratch.front().bytes);
  return y;
}

TEST_P(PackedProduct, IsThatOfTheStoredWeightsWithThePreparedInputs) {
  const Table& table = *GetParam();
  for (const TensorType type : kPackedTypes) {
    Problem p(type, table);
    const std::vector<float> y = product_of(p, table);
    std::vector<float> weights(kRows * kCols);
    dequantize_row(type, p.stored.data(), weights.data(), kRows * kCols);
    double squares = 0;
    double errors = 0;
    for (int t = 0; t < kTokens; ++t) {
      for (int r = 0; r < kRows; ++r) {
        double want = 0;
        for (int k = 0; k < kCols; ++k) {
          want += static_cast<double>(weights[static_cast<std::size_t>(r * kCols + k)]) *
                  p.inputs.number(t, k);
        }
        const double got = static_cast<double>(y[static_cast<std::size_t>(t * kRows + r)]);
        squares += want * want;
        errors += (got - want) * (got - want);
        ASSERT_NEAR(got, want, p.inputs.is_in_spans() ? 1 : 3e-4) << traits(type).name;
      }
    }
    EXPECT_LT(std::sqrt(errors / squares), p.inputs.is_in_spans() ? rounding_in_spans(type) : 1e-6)
        << traits(type).name;
  }
}

// One row of kCols weights times each token of x, [tokens, kCols].
std::vector<float> product_of_row(const Table& table, TensorType type,
                                  const std::vector<std::byte>& stored,
                                  const std::vector<float>& x) {
  const int n_tokens = static_cast<int>(x.size()) / kCols;
  std::vector<CacheLine> packed = cache_lines(table.packed_bytes(type, kCols));
  table.pack(type, stored.data(), 1, kCols, 0, packed.front().bytes);
  PreparedInputs inputs(table, x.data(), n_tokens, kCols);
  std::vector<CacheLine> scratch = cache_lines(matmul_scratch_bytes(kCols));
  std::vector<float> y(static_cast<std::size_t>(n_tokens));
  table.matmul({.w = {type, 1, kCols, stored.data(), packed.front().bytes},
                .inputs = inputs.data(),
                .n_tokens = n_tokens,
                .y = y.data(),
                .y_stride = 1},
               0, 1, scratch.front().bytes);
  return y;
}

// Where a block of the type has its factors, in bytes; every other byte is code or small scale.
struct FactorPlaces {
  std::size_t d;
  std::optional<std::size_t> m;
};
FactorPlaces factor_places(TensorType type) {
  switch (type) {
    case TensorType::kQ4_1:
      return {offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, m)};
    case TensorType::kQ5_1:
      return {offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, m)};
    case TensorType::kQ2_K:
      return {offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin)};
    case TensorType::kQ3_K:
      return {offsetof(BlockQ3_K, d), {}};
    case TensorType::kQ4_K:
      return {offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin)};
    case TensorType::kQ5_K:
      return {offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin)};
    case TensorType::kQ6_K:
      return {offsetof(BlockQ6_K, d), {}};
    default:
      return {0, {}};
  }
}

// Sums in few bits must hold the largest there are: all codes alike, all inputs +-127.
TEST_P(PackedProduct, HoldsTheLargestWeightsTimesTheLargestInputs) {
  const Table& table = *GetParam();
  for (const TensorType type : kPackedTypes) {
    for (const unsigned char code : {0x00, 0x7f, 0x80, 0xff}) {
      const auto block_bytes = bytes_of(type, traits(type).block_elements);
      std::vector<std::byte> stored(bytes_of(type, kCols), std::byte{code});
      const FactorPlaces places = factor_places(type);
      for (std::size_t at = 0; at < stored.size(); at += block_bytes) {
        constexpr std::uint16_t kOne = 0x3c00;
        if (type == TensorType::kMXFP4)
          stored[at] = std::byte{127};  // 2^0
        else
          std::memcpy(&stored[at + places.d], &kOne, sizeof(kOne));
        if (places.m) std::memset(&stored[at + *places.m], 0, sizeof(kOne));
      }
      std::vector<float> weights(kCols);
      dequantize_row(type, stored.data(), weights.data(), kCols);
      std::vector<float> x(kTokens * kCols, -1.0f);
      std::fill_n(x.begin(), 8 * kCols, 1.0f);
      const std::vector<float> y = product_of_row(table, type, stored, x);
      const float sum = std::accumulate(weights.begin(), weights.end(), 0.0f);
      const float tolerance = test::is_in_spans(table) ? 0.01f : 1e-5f;
      for (int t = 0; t < kTokens; ++t) {
        EXPECT_NEAR(y[static_cast<std::size_t>(t)], t < 8 ? sum : -sum,
                    tolerance * (1 + std::fabs(sum)))
            << traits(type).name << " code " << int{code} << " token " << t;
      }
    }
  }
}

TEST_P(PackedProduct, GivesATokenTheSameBitsAloneAsInAChunk) {
  const Table& table = *GetParam();
  for (const TensorType type : kPackedTypes) {
    Problem p(type, table);
    const std::vector<float> chunk = product_of(p, table);
    std::vector<float> alone(kTokens * kRows);
    for (int t = 0; t < kTokens; ++t) {
      PreparedInputs inputs(table, &p.x[static_cast<std::size_t>(t * kCols)], 1, kCols);
      Matmul m = p.matmul;
      m.n_tokens = 1;
      m.inputs = inputs.data();
      m.y = alone.data() + t * kRows;
      table.matmul(m, 16, kRows, p.scratch.front().bytes);
      table.matmul(m, 0, 16, p.scratch.front().bytes);
    }
    EXPECT_EQ(alone, chunk) << traits(type).name;
  }
}

TEST_P(PackedProduct, GivesTokensTheSameBitsInAnyNumberOfThem) {
  const Table& table = *GetParam();
  for (const TensorType type : kPackedTypes) {
    Problem p(type, table);
    const std::vector<float> chunk = product_of(p, table);
    for (const int n : {2, 3, 4, 5, 7, 8, 12, 16, 17}) {
      PreparedInputs inputs(table, p.x.data(), n, kCols);
      std::vector<float> some(static_cast<std::size_t>(n * kRows));
      Matmul m = p.matmul;
      m.n_tokens = n;
      m.inputs = inputs.data();
      m.y = some.data();
      table.matmul(m, 0, kRows, p.scratch.front().bytes);
      EXPECT_EQ(some, std::vector<float>(chunk.begin(), chunk.begin() + n * kRows))
          << traits(type).name << ", " << n << " tokens";
    }
  }
}

// A file may hold anything.
TEST_P(PackedProduct, PassesOnScalesThatAreNoNumbers) {
  const Table& table = *GetParam();
  for (const TensorType type : kPackedTypes) {
    if (type == TensorType::kMXFP4) continue;                               // has no such scales
    std::vector<std::byte> stored(bytes_of(type, kCols), std::byte{0xff});  // each half a NaN
    const std::vector<float> y =
        product_of_row(table, type, stored, std::vector<float>(kCols, 1.0f));
    EXPECT_TRUE(std::isnan(y[0])) << traits(type).name;
  }
}

// More tokens and columns than pass at once, whose inputs a cache does not hold.
TEST_P(PackedProduct, GivesTheSameBitsInLargeChunks) {
  const Table& table = *GetParam();
  constexpr int kManyTokens = 261;
  for (const auto& [type, cols] : {std::pair{TensorType::kQ4_K, 34 * 256},
                                   {TensorType::kQ8_0, 34 * 256 + 96},
                                   {TensorType::kF16, 17 * 256 + 99}}) {
    const auto weights = gaussian(static_cast<std::size_t>(kRows * cols), 1);
    const auto x = gaussian(static_cast<std::size_t>(kManyTokens * cols), 2);
    const auto bias = gaussian(kRows, 3);
    std::vector<std::byte> stored(bytes_of(type, kRows * cols));
    quantize_row(type, weights.data(), stored.data(), kRows * cols);
    const PackedMatrix packed(table, {type, kRows, cols, stored.data()});
    if (packed.matrix().packed == nullptr) continue;
    std::vector<CacheLine> scratch = cache_lines(matmul_scratch_bytes(cols));
    const auto multiply = [&, type = type, cols = cols](int first, int n) {
      const float* from = x.data() + first * cols;
      PreparedInputs inputs(table, from, n, cols);
      std::vector<float> y(static_cast<std::size_t>(n * kRows));
      table.matmul({.w = packed.matrix(),
                    .inputs = inputs.data(),
                    .n_tokens = n,
                    .bias = bias.data(),
                    .y = y.data(),
                    .y_stride = kRows},
                   0, kRows, scratch.front().bytes);
      return y;
    };
    const std::vector<float> chunk = multiply(0, kManyTokens);
    for (const int token : {0, 15, 16, 255, 256, 260}) {
      const auto begin = chunk.begin() + token * kRows;
      EXPECT_EQ(multiply(token, 1), std::vector<float>(begin, begin + kRows))
          << traits(type).name << " token " << token;
    }
  }
}

TEST_P(PackedProduct, TakesTheLargestWeightsAndInputsWithoutOverflow) {
  const Table& table = *GetParam();
  std::vector<BlockQ8_0> row(kCols / 32);
  for (BlockQ8_0& block : row) {
    block.d = 0x3c00;  // 1
    std::fill_n(block.qs, 32, static_cast<std::int8_t>(-128));
  }
  std::vector<std::byte> packed(table.packed_bytes(TensorType::kQ8_0, kCols));
  table.pack(TensorType::kQ8_0, reinterpret_cast<const std::byte*>(row.data()), 1, kCols, 0,
             packed.data());
  const std::vector<float> x(kCols, 127.0f);
  PreparedInputs inputs(table, x.data(), 1, kCols);
  std::vector<CacheLine> scratch = cache_lines(matmul_scratch_bytes(kCols));
  float y = 0;
  table.matmul({.w = {TensorType::kQ8_0, 1, kCols, nullptr, packed.data()},
                .inputs = inputs.data(),
                .n_tokens = 1,
                .y = &y,
                .y_stride = 1},
               0, 1, scratch.front().bytes);
  constexpr float kWanted = -128.0f * 127.0f * kCols;
  if (inputs.is_in_spans()) {  // the rounded scale is a 255th
    EXPECT_FLOAT_EQ(y, kWanted);
  } else {
    EXPECT_EQ(y, kWanted);
  }
}

// A few inputs a thousand times as large as the others cost those nothing but their own blocks'
// precision; and products of one token and of many, with and without such inputs beside it, have
// the same bits.
TEST_P(PackedProduct, KeepsSmallInputsBesideLargeOnes) {
  const Table& table = *GetParam();
  auto x = gaussian(kTokens * kCols, 5);
  for (int t = 0; t < kTokens; t += 3) {
    x[static_cast<std::size_t>(t * kCols + 70 + t)] = 900.0f;
    x[static_cast<std::size_t>(t * kCols + kCols - 1)] = -1500.0f;
  }
  PreparedInputs inputs(table, x.data(), kTokens, kCols);
  for (int t = 0; t < kTokens; ++t) {
    for (int k = 128; k < 256; ++k)
      ASSERT_NEAR(inputs.number(t, k), x[static_cast<std::size_t>(t * kCols + k)], 0.04) << t;
  }
  for (const TensorType type : {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ4_K}) {
    Problem p(type, table);
    std::vector<float> together(kTokens * kRows), alone(kTokens * kRows);
    p.matmul.inputs = inputs.data();
    p.matmul.y = together.data();
    table.matmul(p.matmul, 0, kRows, p.scratch.front().bytes);
    p.matmul.n_tokens = 1;
    for (int t = 0; t < kTokens; ++t) {
      PreparedInputs one(table, &x[static_cast<std::size_t>(t * kCols)], 1, kCols);
      p.matmul.inputs = one.data();
      p.matmul.y = &alone[static_cast<std::size_t>(t * kRows)];
      table.matmul(p.matmul, 0, kRows, p.scratch.front().bytes);
    }
    EXPECT_EQ(together, alone) << traits(type).name;
  }
}

TEST_P(PackedProduct, RoundsInputsToTheNearestOf255Steps) {
  const auto x = gaussian(kCols, 3);
  PreparedInputs inputs(*GetParam(), x.data(), 1, kCols);
  for (int first = 0; first < kCols; first += 16) {
    int sum = 0;
    for (int k = first; k < first + 16; ++k) {
      ASSERT_NEAR(inputs.number(0, k), x[static_cast<std::size_t>(k)], inputs.scale(0, k) * 0.501f);
      sum += inputs.whole(0, k);
    }
    EXPECT_EQ(inputs.half_sum(0, first), sum);
    if (inputs.is_in_spans()) continue;
    const InputChunk& chunk = inputs.chunk(0, first);
    EXPECT_EQ(chunk.sum, chunk.half_sum(0) + chunk.half_sum(1));
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

TEST(PackedModel, KeepsThePerplexityOfFloatProducts) {
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
  const bool is_int8 =
      kernels::best_table().peaks[static_cast<int>(kernels::Numbers::kInt8)] != nullptr;
  EXPECT_NEAR(std::exp(nll[1]) / std::exp(nll[0]), 1, is_int8 ? 0.01 : 0.005);
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

// Also half-precision weights, which matrix units take prepared inputs for.
TEST(PackedModel, GivesTheSameBitsInChunksWhateverTheArchitecture) {
  for (const char* type : {"q4_0", "f16"}) {
    for (const ModelShape& shape : test::tiny_shapes()) {
      SCOPED_TRACE(testing::Message() << shape.architecture << " " << type);
      const MadeModel model = test::make(shape, type);
      test::LoadedDecoder decoder(test::parse(model), 2);
      decoder.pack();
      const std::vector<Token> tokens = test::some_tokens(40, decoder.config().vocabulary_size);
      std::vector<float> single;
      for (const int chunk : {1, 33}) {
        KvCache cache = decoder.cache({4, 20}, KvType::kF16, chunk);
        const std::vector<float> logits = decoder.all_logits(cache, tokens, chunk);
        if (single.empty()) single = logits;
        EXPECT_EQ(logits, single) << "chunk " << chunk;
      }
    }
  }
}

}  // namespace
}  // namespace runnel
