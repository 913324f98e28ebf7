// Streams on the OpenCL device through the public interface.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "runnel/runnel.h"
#include "support/error_text.h"
#include "support/made_models.h"
#include "support/opencl.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

const ModelOptions kOnOpenCl = {.device = "opencl:0"};

std::filesystem::path model_path(const std::string& name) {
  const auto golden = test::shared("golden/models/" + name);
  return std::filesystem::exists(golden) ? golden : test::shared("models/" + name);
}

Policy policy_named(const std::string& name) {
  if (name == "dense") return Policy::kDense;
  if (name == "window") return Policy::kWindow;
  return name == "sink" ? Policy::kSink : Policy::kRecompute;
}

// All of them; of the larger model, whose kernels PoCL runs slowly, and of recomputation, the first
// tokens.
TEST(OpenClGolden, SeriesAgreeWithTheReference) {
  RUNNEL_NEED_OPENCL();
  RUNNEL_NEED_SHARED("golden/nll");
  int n_series = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::shared("golden/nll"))) {
    SCOPED_TRACE(entry.path().filename().string());
    const auto golden = nlohmann::json::parse(std::ifstream(entry.path()));
    auto tokens = golden.at("tokens").get<std::vector<Token>>();
    const auto want = golden.at("nll").get<std::vector<double>>();
    const std::string name = golden.at("model");
    StreamOptions options = {
        .policy = policy_named(golden.at("policy")),
        .sinks = golden.at("sinks"),
        .kv_type = KvType::kF32,
        .softmax = golden.at("softmax") == "standard" ? Softmax::kStandard : Softmax::kOffByOne,
        .chunk = 128};
    if (options.policy != Policy::kDense) options.window = golden.at("window").get<std::int64_t>();
    const bool is_slow = name.starts_with("novella") || options.policy == Policy::kRecompute;
    const bool is_both = name.starts_with("novella") && options.policy == Policy::kRecompute;
    const std::size_t most = is_both ? 68 : is_slow ? 80 : 300;
    if (tokens.size() > most) tokens.resize(most);
    const Model model = Model::load(model_path(name), kOnOpenCl);
    const std::vector<float> got = model.open(options).score(tokens);
    ASSERT_EQ(got.size(), tokens.size() - 1);
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 2e-4) << "at " << i;
    ++n_series;
  }
  EXPECT_GE(n_series, 20);
}

TEST(OpenClStream, IsSavedAndGoesOnHereAndOnTheProcessor) {
  RUNNEL_NEED_OPENCL();
  const test::TempDir folder;
  const auto path = test::bundled_model();
  const Model on_device = Model::load(path, kOnOpenCl);
  const Model on_processor = Model::load(path);
  Stream stream = on_device.open({.window = 24, .chunk = 32, .sampling = {.temperature = 0}});
  stream.feed(
      "It was a dark and stormy night, and the old man sat by the fire, listening to the "
      "wind that came over the hill.");
  ASSERT_GT(stream.evicted(), 0);
  stream.save(folder / "s.state");
  Stream fork = stream.fork();
  Stream here = on_device.resume(folder / "s.state");
  Stream there = on_processor.resume(folder / "s.state");
  for (int i = 0; i < 12; ++i) {
    const Stream::Step step = stream.next();
    EXPECT_EQ(fork.next().token, step.token);
    const Stream::Step resumed = here.next();
    EXPECT_EQ(resumed.token, step.token);
    EXPECT_EQ(resumed.log_probability, step.log_probability);
    const Stream::Step other = there.next();
    EXPECT_EQ(other.token, step.token);
    EXPECT_NEAR(other.log_probability, step.log_probability, 0.1);
  }
  there.save(folder / "back.state");
  EXPECT_EQ(on_device.resume(folder / "back.state").position(), there.position());
}

TEST(OpenClStream, SharesAStepAndGuessesAsAlone) {
  RUNNEL_NEED_OPENCL();
  const Model model = Model::load(test::bundled_model(), kOnOpenCl);
  const auto open = [&](int draft) {
    Stream stream = model.open({.window = 30, .chunk = 16, .draft = draft});
    stream.feed("the man and the dog and the man and the dog and the man and the");
    return stream;
  };
  Stream alone = open(0);
  Stream guessing = open(4);
  Stream a = open(0), b = open(0);
  Stream* const both[] = {&a, &b};
  for (int i = 0; i < 8; ++i) {
    const Token token = alone.next().token;
    EXPECT_EQ(guessing.next().token, token);
    for (const Stream::Step& step : Stream::next(both)) EXPECT_EQ(step.token, token);
  }
  EXPECT_GT(model.device().launches, 0u);
  EXPECT_GT(model.device().memory_bytes, model.weight_bytes());
}

TEST(OpenClStream, KeepsWhatIsPinned) {
  RUNNEL_NEED_OPENCL();
  const StreamOptions options = {.window = 12,
                                 .kv_type = KvType::kQ8_0,
                                 .chunk = 16,
                                 .pin = "The old king was called Edmund.",
                                 .sampling = {.temperature = 0}};
  const auto write = [&](const ModelOptions& on) {
    const Model model = Model::load(test::bundled_model(), on);
    Stream stream = model.open(options);
    stream.feed(" It was a dark and stormy night, and the wind came over the hill to the sea.");
    EXPECT_GT(stream.evicted(), 0);
    std::vector<Token> tokens;
    for (int i = 0; i < 8; ++i) tokens.push_back(stream.next().token);
    return tokens;
  };
  EXPECT_EQ(write(kOnOpenCl), write({}));
}

class OpenClArchitecture : public testing::TestWithParam<ModelShape> {};

TEST_P(OpenClArchitecture, AgreesWithTheProcessorOrIsRefusedByName) {
  RUNNEL_NEED_OPENCL();
  const std::string architecture(GetParam().architecture);
  const MadeModel made = test::make(GetParam());
  // Layers with a state, or layers that differ.
  const bool is_refused = architecture.starts_with("qwen3next") ||
                          architecture.starts_with("qwen35") || architecture.starts_with("lfm2") ||
                          architecture == "gemma4";
  if (is_refused) {
    const std::string error = test::error_of([&] { Model::load(made.bytes(), "made", kOnOpenCl); });
    EXPECT_NE(error.find("does not run " + architecture + " models"), std::string::npos) << error;
    return;
  }
  const auto logits = [&](const ModelOptions& on) {
    const Model model = Model::load(made.bytes(), "made", on);
    Stream stream = model.open({.window = 20, .kv_type = KvType::kF32, .chunk = 16});
    stream.feed(test::some_tokens(41, GetParam().vocabulary_size));
    return std::vector<float>(stream.logits().begin(), stream.logits().end());
  };
  EXPECT_LT(test::relative_error(logits(kOnOpenCl), logits({})), 2e-3);
}

INSTANTIATE_TEST_SUITE_P(Every, OpenClArchitecture, testing::ValuesIn(test::tiny_shapes()),
                         [](const auto& parameter) {
                           return test::test_name(std::string(parameter.param.architecture));
                         });

// Five launches a layer of one stream, nine of several, and two for the logits; no more are hidden
// in a step.
TEST(OpenClStep, IsFewLaunches) {
  RUNNEL_NEED_OPENCL();
  const Model model = Model::load(test::bundled_model(), kOnOpenCl);
  const auto n_layers = static_cast<std::uint64_t>(model.layers());
  std::vector<Stream> streams;
  for (int i = 0; i < 6; ++i) {
    streams.push_back(model.open({.window = 30, .chunk = 16}));
    streams.back().feed("It was a dark and stormy night");
  }
  const auto launches_of = [&](std::size_t n) {
    std::vector<Stream*> together;
    for (std::size_t i = 0; i < n; ++i) together.push_back(&streams[i]);
    const std::uint64_t before = model.device().launches;
    Stream::next(together);
    return model.device().launches - before;
  };
  EXPECT_EQ(launches_of(1), 5 * n_layers + 2);
  EXPECT_EQ(launches_of(4), 9 * n_layers + 2);
  EXPECT_EQ(launches_of(6), 10 * n_layers + 2) << "attention is a launch for four streams";
}

TEST(OpenClStream, SurvivesAnotherThatFindsNoMemory) {
  RUNNEL_NEED_OPENCL();
  const Model model = Model::load(test::bundled_model(), kOnOpenCl);
  Stream stream = model.open({.window = 30, .chunk = 16, .sampling = {.temperature = 0}});
  stream.feed("It was a dark and stormy night");
  Stream alone = stream.fork();
  const std::string error =
      test::error_of([&] { model.open({.window = 1 << 24, .kv_type = KvType::kF32}); });
  EXPECT_NE(error.find("bytes of device memory"), std::string::npos) << error;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(stream.next().token, alone.next().token);
}

// 2,000 tokens past the window; RUNNEL_LONG_TOKENS=100000 for as many as one likes.
TEST(OpenClStream, StaysWithTheProcessorFarPastTheWindow) {
  RUNNEL_NEED_OPENCL();
  RUNNEL_NEED_SHARED("golden/models/stories260K-f32.gguf");
  const char* const given = std::getenv("RUNNEL_LONG_TOKENS");
  const std::size_t n = given != nullptr ? std::stoul(given) : 2000;
  const auto path = test::shared("golden/models/stories260K-f32.gguf");
  const Model on_device = Model::load(path, kOnOpenCl);
  const Model on_processor = Model::load(path);
  const StreamOptions options = {.window = 60, .kv_type = KvType::kF32, .chunk = 256};
  Stream device_stream = on_device.open(options);
  Stream processor_stream = on_processor.open(options);
  std::vector<Token> tokens(n);
  std::uint64_t state = 1;
  for (Token& token : tokens) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    token = static_cast<Token>(3 + (state >> 33) % 500);
  }
  const std::vector<float> got = device_stream.score(tokens);
  const std::vector<float> want = processor_stream.score(tokens);
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 2e-3) << i;
  EXPECT_EQ(device_stream.evicted(), static_cast<std::int64_t>(n) - 64);
}

TEST(OpenClDevices, AreListedAndOthersRefused) {
  std::string reason;
  const std::vector<DeviceInfo> all = devices(&reason);
  const auto load = [](const std::string& device) {
    return test::error_of([&] { Model::load(test::bundled_model(), {.device = device}); });
  };
  EXPECT_EQ(load("tpu"), "device: want cpu, gpu or opencl:N, found tpu");
  if (all.empty()) {
    EXPECT_FALSE(reason.empty());
    EXPECT_EQ(load("opencl:0"), "device: " + reason);
    return;
  }
  EXPECT_EQ(all.front().id, "opencl:0");
  EXPECT_FALSE(all.front().name.empty());
  EXPECT_GT(all.front().memory_bytes, 0u);
  EXPECT_NE(load("opencl:99").find("found opencl:99"), std::string::npos);
}

}  // namespace
}  // namespace runnel
