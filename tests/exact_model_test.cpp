// Real weights against float64: exact where that was asked for, near where inputs are rounded.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "runnel/runnel.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/pulled_models.h"

namespace runnel {
namespace {

struct Difference {
  double mean = 0, largest = 0;
};

// Of the likelihoods of a series made in float64.
Difference difference(const Model& model, const std::string& series, KvType kv_type) {
  const auto json =
      nlohmann::json::parse(std::ifstream(test::shared("golden/real/smollm2-" + series + ".json")));
  const std::string policy = json["policy"];
  StreamOptions options = {.policy = policy == "dense"    ? Policy::kDense
                                     : policy == "window" ? Policy::kWindow
                                                          : Policy::kSink,
                           .kv_type = kv_type};
  options.sinks = json["sinks"];
  if (options.policy != Policy::kDense) options.window = json["window"].get<std::int64_t>();
  Stream stream = model.open(options);
  const std::vector<float> found = stream.score(json["tokens"].get<std::vector<Token>>());
  const auto wanted = json["nll"].get<std::vector<double>>();
  Difference difference;
  EXPECT_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < std::min(found.size(), wanted.size()); ++i) {
    const double d = std::abs(static_cast<double>(found[i]) - wanted[i]);
    difference.largest = std::max(difference.largest, d);
    difference.mean += d / static_cast<double>(wanted.size());
  }
  return difference;
}

class RealWeights : public testing::TestWithParam<const char*> {};

TEST_P(RealWeights, AreExactWhereThatIsAskedFor) {
  RUNNEL_NEED_PULLED("smollm2", path);
  RUNNEL_NEED_SHARED("golden/real");
  const Model model = Model::load(path, {.exact = true});
  EXPECT_LT(difference(model, GetParam(), KvType::kF32).largest, 1e-3);
}

TEST_P(RealWeights, AreNearWithRoundedInputs) {
  RUNNEL_NEED_PULLED("smollm2", path);
  RUNNEL_NEED_SHARED("golden/real");
  const Model model = Model::load(path);
  const Difference found = difference(model, GetParam(), KvType::kF16);
  EXPECT_LT(found.mean, 0.1);
  EXPECT_LT(found.largest, 1.0);
}

INSTANTIATE_TEST_SUITE_P(Series, RealWeights, testing::Values("dense", "sink-4-60", "window-0-64"),
                         test::ByParameter());

// Where there is no pulled model: the bundled one in its own numbers, chunked and stepwise.
TEST(ExactModel, GivesTheBitsOfSingleSteps) {
  const Model model = Model::load(test::bundled_model(), {.exact = true});
  const std::vector<Token> tokens = model.tokenize("It was a dark and stormy night, and the rain");
  const StreamOptions options = {.sinks = 2, .window = 5, .kv_type = KvType::kF32};
  Stream whole = model.open(options), steps = model.open(options);
  const std::vector<float> together = whole.score(tokens);
  std::vector<float> alone;
  for (const Token& token : tokens)
    for (const float value : steps.score({&token, 1})) alone.push_back(value);
  EXPECT_EQ(together, alone);
  const std::vector<float> rounded = Model::load(test::bundled_model()).open(options).score(tokens);
  ASSERT_EQ(rounded.size(), together.size());
  double largest = 0;
  for (std::size_t i = 0; i < rounded.size(); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(rounded[i] - together[i])));
  EXPECT_LT(largest, 0.2);
  EXPECT_GT(largest, 0);  // otherwise nothing was rounded, and exact means nothing
}

}  // namespace
}  // namespace runnel
