// Perplexity under several policies: against the reference series, and stopped and resumed.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/perplexity.h"
#include "eval/perplexity_section.h"
#include "eval/statistics.h"
#include "support/error_text.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel::eval {
namespace {

const Model& tiny_for_perplexity() {
  static const Model model = Model::load(test::fixture("models/llama-gqa.gguf"), {.threads = 2});
  return model;
}

std::vector<Token> random_text(std::size_t n) {
  std::vector<Token> tokens = {1};
  for (std::size_t i = 1; i < n; ++i) tokens.push_back(static_cast<Token>(i * i * 7 % 509));
  return tokens;
}

struct GoldenCase {
  const char* model;
  const char* series;
  Policy policy;
  int sinks;
  std::int64_t window;
  Softmax softmax = Softmax::kStandard;
};
void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.series; }

class GoldenPerplexity : public testing::TestWithParam<GoldenCase> {};

TEST_P(GoldenPerplexity, IsThatOfTheReferenceSeries) {
  const GoldenCase& c = GetParam();
  const std::string path = std::string("golden/nll/") + c.series + ".json";
  RUNNEL_NEED_SHARED(path);
  const auto golden = nlohmann::json::parse(std::ifstream(test::shared(path)));
  const auto tokens = golden.at("tokens").get<std::vector<Token>>();
  const auto want = golden.at("nll").get<std::vector<double>>();
  const Model model = Model::load(test::shared(c.model), {.threads = 2});
  PerplexityRun run(model, tokens,
                    {.policies = {c.policy},
                     .stream = {.sinks = c.sinks,
                                .window = c.window,
                                .kv_type = KvType::kF32,
                                .softmax = c.softmax},
                     .recompute_tokens = 0});
  ASSERT_TRUE(run.run({}));
  const NllSeries& series = run.series().front();
  ASSERT_EQ(series.nll.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(series.nll[i]), want[i], 1e-4) << "at " << i;
    ASSERT_EQ(series.positions[i], static_cast<std::int64_t>(i) + 1);
  }
}

constexpr const char* kStories = "golden/models/stories260K-f32.gguf";
constexpr const char* kNovella = "models/novella-7m-f32.gguf";

INSTANTIATE_TEST_SUITE_P(
    Every, GoldenPerplexity,
    testing::Values(GoldenCase{kStories, "stories260K-f32-dense-0-0", Policy::kDense, 4, 60},
                    GoldenCase{kStories, "stories260K-f32-sink-4-60", Policy::kSink, 4, 60},
                    GoldenCase{kStories, "stories260K-f32-sink-4-60-off_by_one", Policy::kSink, 4,
                               60, Softmax::kOffByOne},
                    // Window attention gets as many tokens as the sink policy in all.
                    GoldenCase{kStories, "stories260K-f32-window-0-64", Policy::kWindow, 4, 60},
                    GoldenCase{kStories, "stories260K-f32-recompute-4-60", Policy::kRecompute, 4,
                               60},
                    GoldenCase{kNovella, "novella-7m-sink-4-60", Policy::kSink, 4, 60},
                    GoldenCase{kNovella, "novella-7m-window-0-64", Policy::kWindow, 4, 60},
                    GoldenCase{kNovella, "novella-7m-recompute-0-64", Policy::kRecompute, 0, 64}),
    test::ByParameter());

PerplexityOptions all_policies(const std::filesystem::path& state = {}) {
  return {.policies = {Policy::kDense, Policy::kWindow, Policy::kSink, Policy::kRecompute},
          .stream = {.sinks = 4, .window = 28},
          .dense_tokens = 400,
          .recompute_tokens = 20,
          .state = state};
}

TEST(PerplexityRun, StoppedAndResumedEqualsAnUninterruptedOne) {
  const test::TempDir folder;
  const std::vector<Token> tokens = random_text(1000);
  PerplexityRun whole(tiny_for_perplexity(), tokens, all_policies());
  ASSERT_TRUE(whole.run({}));

  int n_blocks = 0;
  bool is_finished = false;
  for (int part = 0; part < 10 && !is_finished; ++part) {
    PerplexityRun run(tiny_for_perplexity(), tokens, all_policies(folder / "state"));
    is_finished = run.run([&](double) { return ++n_blocks % 2 != 0; });
    EXPECT_EQ(is_finished, run.position() == 1000);
    if (!is_finished) continue;
    for (std::size_t i = 0; i < run.series().size(); ++i) {
      EXPECT_EQ(run.series()[i].nll, whole.series()[i].nll) << run.series()[i].name();
      EXPECT_EQ(run.series()[i].positions, whole.series()[i].positions);
    }
  }
  EXPECT_TRUE(is_finished);
  EXPECT_GT(n_blocks, 4) << "the run was never stopped";
}

TEST(PerplexityRun, KeepsOneGenerationOfItsState) {
  const test::TempDir folder;
  const std::vector<Token> tokens = random_text(600);
  PerplexityRun(tiny_for_perplexity(), tokens, all_policies(folder / "state")).run({});
  int n_states = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "state")) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(name == "state.json" || name.starts_with("600-")) << name;
    ++n_states;
  }
  EXPECT_EQ(n_states, 1 + 4 * 2 + 3);
}

TEST(PerplexityRun, RefusesTheStateOfAnotherRun) {
  const test::TempDir folder;
  const std::vector<Token> tokens = random_text(300);
  PerplexityRun(tiny_for_perplexity(), tokens, all_policies(folder / "state")).run({});
  std::vector<Token> others = tokens;
  others[100] = 5;
  EXPECT_NE(test::error_of([&] {
              PerplexityRun(tiny_for_perplexity(), others, all_policies(folder / "state"));
            }).find("another text"),
            std::string::npos);
  PerplexityOptions wider = all_policies(folder / "state");
  wider.stream.window = 40;
  EXPECT_NE(
      test::error_of([&] { PerplexityRun(tiny_for_perplexity(), tokens, wider); }).find("window"),
      std::string::npos);
}

TEST(PerplexityRun, LimitsWhatIsCostlyAndSaysSo) {
  const std::vector<Token> tokens = random_text(1000);
  PerplexityRun run(tiny_for_perplexity(), tokens, all_policies());
  run.run({});
  EXPECT_EQ(run.series()[0].nll.size(), 399u);
  EXPECT_EQ(run.series()[1].nll.size(), 999u);
  EXPECT_EQ(run.series()[3].nll.size(), 33u + 20u);
  const Section section = perplexity_section(tiny_for_perplexity(), run, true, {});
  ASSERT_EQ(section.notes.size(), 2u);
  EXPECT_NE(section.notes[0].find("first 400 tokens"), std::string::npos);
  EXPECT_NE(section.notes[1].find("53 positions"), std::string::npos);
}

TEST(PerplexityRun, RecomputesWhatTheStreamItselfWouldHave) {
  const std::vector<Token> tokens = random_text(120);
  PerplexityOptions options = all_policies();
  options.recompute_tokens = 0;
  PerplexityRun run(tiny_for_perplexity(), tokens, options);
  run.run({});
  Stream stream =
      tiny_for_perplexity().open({.policy = Policy::kRecompute, .sinks = 4, .window = 28});
  const std::vector<float> want = stream.score(tokens);
  ASSERT_EQ(run.series()[3].nll.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(run.series()[3].nll[i], want[i], 1e-5) << i;
}

TEST(BlockEstimate, HasTheErrorOfTheBlockMeans) {
  // Two blocks of means 1 and 3: their spread is 2, the error of the mean half of that.
  const std::vector<double> values = {0, 2, 1, 1, 3, 3, 2, 4};
  const Estimate estimate = block_estimate(values, 2);
  EXPECT_DOUBLE_EQ(estimate.mean, 2);
  EXPECT_DOUBLE_EQ(estimate.error, 1);
  EXPECT_EQ(estimate.n, 8);
  EXPECT_EQ(block_estimate(std::vector<double>{5.0}).error, 0);
}

TEST(LogBins, CoverEveryPositionOnce) {
  for (const std::int64_t last : {1, 63, 64, 65, 1000, 100000}) {
    std::int64_t next = 1;
    for (const Bin& bin : log_bins(last)) {
      EXPECT_EQ(bin.first, next);
      EXPECT_TRUE(bin.last - bin.first >= 63 || last < 64) << last;
      next = bin.last + 1;
    }
    EXPECT_EQ(next, last + 1);
  }
}

TEST(LogSpaced, BeginsAndEndsWhereItShould) {
  const auto numbers = log_spaced(10, 10000, 4);
  EXPECT_EQ(numbers, (std::vector<std::int64_t>{10, 100, 1000, 10000}));
  EXPECT_EQ(log_spaced(1, 3, 100).size(), 3u);
  EXPECT_TRUE(log_spaced(5, 4, 3).empty());
}

}  // namespace
}  // namespace runnel::eval
