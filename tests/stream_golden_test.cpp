// Every reference series of golden/nll, every policy, through the public interface.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "runnel/runnel.h"
#include "support/paths.h"

namespace runnel {
namespace {

std::filesystem::path golden_model(const std::string& name) {
  const auto golden = test::shared("golden/models/" + name);
  return std::filesystem::exists(golden) ? golden : test::shared("models/" + name);
}

Policy golden_policy(const std::string& name) {
  if (name == "dense") return Policy::kDense;
  if (name == "window") return Policy::kWindow;
  return name == "sink" ? Policy::kSink : Policy::kRecompute;
}

TEST(GoldenSeries, AgreeThroughThePublicInterface) {
  RUNNEL_NEED_SHARED("golden/nll");
  int n_series = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::shared("golden/nll"))) {
    SCOPED_TRACE(entry.path().filename().string());
    const auto golden = nlohmann::json::parse(std::ifstream(entry.path()));
    const auto tokens = golden.at("tokens").get<std::vector<Token>>();
    const auto want = golden.at("nll").get<std::vector<double>>();
    StreamOptions options = {
        .policy = golden_policy(golden.at("policy")),
        .sinks = golden.at("sinks"),
        .kv_type = KvType::kF32,
        .softmax = golden.at("softmax") == "standard" ? Softmax::kStandard : Softmax::kOffByOne};
    if (options.policy != Policy::kDense) options.window = golden.at("window").get<std::int64_t>();
    const Model model = Model::load(golden_model(golden.at("model")));
    for (const int chunk : {7, 512}) {
      options.chunk = chunk;
      const std::vector<float> got = model.open(options).score(tokens);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 1e-4) << "chunk " << chunk << " at " << i;
    }
    ++n_series;
  }
  EXPECT_GE(n_series, 20);
}

}  // namespace
}  // namespace runnel
