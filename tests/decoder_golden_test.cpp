// The decoder against the reference logits and negative log-likelihoods.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/decoder_fixture.h"
#include "support/parameters.h"
#include "support/paths.h"

namespace runnel {
namespace {

struct LogitsCase {
  const char* name;
  double tolerance;  // norm of the difference over the norm
};
void PrintTo(const LogitsCase& c, std::ostream* out) { *out << c.name; }

class GoldenLogits : public testing::TestWithParam<LogitsCase> {};

constexpr Token kGoldenTokens[] = {1,   403, 407, 261, 378, 280, 291, 262, 31, 442, 269, 57,
                                   500, 33,  12,  88,  301, 415, 270, 399, 1,  45,  66,  77};

TEST_P(GoldenLogits, AgreeForEveryChunkSize) {
  const std::string model = std::string("golden/models/") + GetParam().name + ".gguf";
  const std::string logits = std::string("golden/logits/") + GetParam().name + ".f32";
  RUNNEL_NEED_SHARED(model);
  const std::vector<float> want = test::read_floats(test::shared(logits));
  for (const int threads : {1, 2}) {
    test::LoadedDecoder decoder(test::shared(model), threads);
    for (const int chunk : {1, 2, 3, 7, 64}) {
      KvCache cache = decoder.cache({.sinks = 0, .window = kUnbounded}, KvType::kF32, chunk);
      const std::vector<float> got = decoder.all_logits(cache, kGoldenTokens, chunk);
      ASSERT_EQ(got.size(), want.size());
      EXPECT_LT(test::relative_error(got, want), GetParam().tolerance) << "chunk " << chunk;
    }
  }
}

// Where the reference took its GELU from a half-precision table the tolerance is wider, and wider
// still where its cache was of half precision.
INSTANTIATE_TEST_SUITE_P(
    Every, GoldenLogits,
    testing::Values(LogitsCase{"llama-gqa", 1e-5}, LogitsCase{"llama-tied", 1e-5},
                    LogitsCase{"llama-linear", 1e-5}, LogitsCase{"llama-yarn", 1e-5},
                    LogitsCase{"llama3-rope", 1e-5}, LogitsCase{"qwen2", 1e-5},
                    LogitsCase{"qwen3", 1e-5}, LogitsCase{"falcon-mqa", 1e-3},
                    LogitsCase{"falcon-gqa", 1e-3}, LogitsCase{"mpt", 1e-3},
                    LogitsCase{"mpt-clamp", 1e-3}, LogitsCase{"pythia", 1e-3},
                    LogitsCase{"gptneox-serial", 1e-3}, LogitsCase{"gemma2", 3e-3},
                    LogitsCase{"gemma3", 3e-3}, LogitsCase{"gpt-oss", 3e-3},
                    LogitsCase{"gpt-oss-yarn", 3e-3}),
    test::ByParameter());

// The same with the project's own copies, at a few positions.
class FixtureLogits : public testing::TestWithParam<LogitsCase> {};

TEST_P(FixtureLogits, AgreeChunkedAndSingle) {
  const std::string model = std::string("models/") + GetParam().name;
  const std::vector<float> want = test::read_floats(test::fixture(model + ".f32"));
  test::LoadedDecoder decoder(test::fixture(model + ".gguf"));
  const std::size_t vocabulary = want.size() / 3;
  for (const int chunk : {1, 7, 64}) {
    KvCache cache = decoder.cache({.sinks = 0, .window = kUnbounded}, KvType::kF32, chunk);
    const std::vector<float> all = decoder.all_logits(cache, kGoldenTokens, chunk);
    std::vector<float> got;
    for (const std::size_t position : {0u, 11u, 23u}) {
      const auto first = all.begin() + static_cast<std::ptrdiff_t>(position * vocabulary);
      got.insert(got.end(), first, first + static_cast<std::ptrdiff_t>(vocabulary));
    }
    EXPECT_LT(test::relative_error(got, want), GetParam().tolerance) << "chunk " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(Our, FixtureLogits,
                         testing::Values(LogitsCase{"llama-gqa", 1e-5}, LogitsCase{"qwen3", 1e-5},
                                         LogitsCase{"falcon-mqa", 1e-3}, LogitsCase{"mpt", 1e-3},
                                         LogitsCase{"pythia", 1e-3},
                                         LogitsCase{"gpt-oss-yarn", 3e-3}),
                         test::ByParameter());

struct NllCase {
  const char* series;  // file of golden/nll without .json
  const char* model;   // below shared/
  int max_chunk = 512;
};
void PrintTo(const NllCase& c, std::ostream* out) { *out << c.series; }

class GoldenNll : public testing::TestWithParam<NllCase> {};

TEST_P(GoldenNll, AgreesWithinTheToleranceForEveryChunkSize) {
  const std::string series = std::string("golden/nll/") + GetParam().series + ".json";
  RUNNEL_NEED_SHARED(series);
  const auto golden = nlohmann::json::parse(std::ifstream(test::shared(series)));
  const auto tokens = golden.at("tokens").get<std::vector<Token>>();
  const auto want = golden.at("nll").get<std::vector<double>>();
  const bool is_dense = golden.at("policy") == "dense";
  const CachePolicy policy = {golden.at("sinks").get<int>(),
                              is_dense ? kUnbounded : golden.at("window").get<std::int64_t>()};
  const Softmax softmax =
      golden.at("softmax") == "standard" ? Softmax::kStandard : Softmax::kOffByOne;
  std::vector<float> single;
  for (const int threads : {1, 2}) {
    test::LoadedDecoder decoder(test::shared(GetParam().model), threads);
    for (const int chunk : {1, 2, 3, 7, 64, 512}) {
      if (threads == 2 && chunk < 7) continue;
      KvCache cache = decoder.cache(policy, KvType::kF32, chunk);
      const std::vector<float> got = decoder.nll(cache, tokens, chunk, softmax);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 1e-4) << "chunk " << chunk << " at " << i;
      if (single.empty()) single = got;
      EXPECT_EQ(got, single) << "a chunk of " << chunk << " differs from single steps";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Every, GoldenNll,
    testing::Values(
        NllCase{"falcon-gqa-sink-4-28", "golden/models/falcon-gqa.gguf"},
        NllCase{"falcon-mqa-sink-4-28", "golden/models/falcon-mqa.gguf"},
        NllCase{"gptneox-serial-sink-4-28", "golden/models/gptneox-serial.gguf"},
        NllCase{"mpt-sink-4-28", "golden/models/mpt.gguf"},
        NllCase{"mpt-clamp-sink-4-28", "golden/models/mpt-clamp.gguf"},
        NllCase{"pythia-sink-4-28", "golden/models/pythia.gguf"},
        NllCase{"qwen2-sink-4-28", "golden/models/qwen2.gguf"},
        NllCase{"llama-gqa-sink-4-28", "golden/models/llama-gqa.gguf"},
        NllCase{"llama-tied-sink-4-28", "golden/models/llama-tied.gguf"},
        NllCase{"stories260K-f32-dense-0-0", "golden/models/stories260K-f32.gguf"},
        NllCase{"stories260K-f32-dense-0-0-off_by_one", "golden/models/stories260K-f32.gguf"},
        NllCase{"stories260K-f32-sink-1-63", "golden/models/stories260K-f32.gguf"},
        NllCase{"stories260K-f32-sink-4-252", "golden/models/stories260K-f32.gguf"},
        NllCase{"stories260K-f32-sink-4-60", "golden/models/stories260K-f32.gguf"},
        NllCase{"stories260K-f32-sink-4-60-off_by_one", "golden/models/stories260K-f32.gguf"},
        NllCase{"stories260K-f32-window-0-64", "golden/models/stories260K-f32.gguf"},
        NllCase{"novella-7m-sink-4-60", "models/novella-7m-f32.gguf"},
        NllCase{"novella-7m-sink-4-248", "models/novella-7m-f32.gguf"},
        NllCase{"novella-7m-window-0-64", "models/novella-7m-f32.gguf"}),
    test::ByParameter());

}  // namespace
}  // namespace runnel
