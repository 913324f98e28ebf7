// Streams on the OpenCL device through the public interface.
#include <gtest/gtest.h>

#include <algorithm>
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
// tokens, or with RUNNEL_WHOLE_SERIES every one.
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
    if (tokens.size() > most && std::getenv("RUNNEL_WHOLE_SERIES") == nullptr) tokens.resize(most);
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
    EXPECT_NEAR(other.log_probability, step.log_probability, 0.1);  // int8 inputs, rounded apart
    if (other.token != step.token) break;  // two as likely: what follows is another text
  }
  there.save(folder / "back.state");
  EXPECT_EQ(on_device.resume(folder / "back.state").position(), there.position());
}

// Whose logits are made when somebody asks, of what its last chunk left; some layers here, some
// there.
TEST(OpenClStream, HasTheLogitsOfAFeedThatWasStopped) {
  RUNNEL_NEED_OPENCL();
  for (const int n_layers : {1, 100}) {
    const Model model = Model::load(test::fixture("models/llama-gqa.gguf"),
                                    {.device = "opencl:0", .device_layers = n_layers});
    const StreamOptions options = {.window = 20, .chunk = 16};
    const std::vector<Token> tokens = test::some_tokens(60, model.vocabulary_size());
    Stream stopped = model.open(options), fed = model.open(options);
    EXPECT_EQ(stopped.feed(tokens, [](std::int64_t n) { return n < 32; }), 32);
    fed.feed(std::span(tokens).first(32));
    EXPECT_TRUE(std::ranges::equal(stopped.logits(), fed.logits())) << n_layers << " layers";
  }
}

// Of a model in floats, whose numbers agree within rounding: a stream of either goes on on the
// other.
TEST(OpenClStream, ChangesTheDeviceWithinRoundingBothWays) {
  RUNNEL_NEED_OPENCL();
  const auto path = test::fixture("models/llama-gqa.gguf");
  const Model on_device = Model::load(path, kOnOpenCl);
  const Model on_processor = Model::load(path);
  const std::vector<Token> tokens = test::some_tokens(60, on_device.vocabulary_size());
  for (const KvType type : {KvType::kF32, KvType::kQ8_0}) {
    const StreamOptions options = {.window = 20, .kv_type = type, .chunk = 16};
    const double tolerance = type == KvType::kF32 ? 1e-4 : 0.05;  // bfloat16 products of int8 keys
    Stream first = on_device.open(options);
    first.feed(std::span(tokens).first(40));
    ASSERT_GT(first.evicted(), 0);
    Stream second = on_processor.resume(first.save_bytes());
    Stream third = on_device.resume(second.save_bytes());
    Stream fourth = on_processor.resume(third.save_bytes());
    for (const Token token : std::span(tokens).subspan(40)) {
      const float want = first.push(token).log_probability;
      EXPECT_EQ(third.push(token).log_probability, want);
      EXPECT_NEAR(second.push(token).log_probability, want, tolerance);
      EXPECT_NEAR(fourth.push(token).log_probability, want, tolerance);
    }
  }
}

// Inputs rounded to int8 are as near to exact arithmetic there as they are here.
TEST(OpenClStream, IsAsExactAsTheProcessorWithInt8Inputs) {
  RUNNEL_NEED_OPENCL();
  const auto nll = [](const ModelOptions& on) {
    const Model model = Model::load(test::bundled_model(), on);
    Stream stream = model.open({.window = 60, .kv_type = KvType::kF32, .chunk = 128});
    const std::string text =
        "It was a dark and stormy night, and the old man sat by the fire, listening to the wind "
        "that came over the hill. He had not slept for three days, and the letter lay unopened on "
        "the table. Who would write to him now, after all these years? The dog lifted its head, "
        "and somewhere in the house a door was shut.";
    return stream.score(stream.tokenize(text));
  };
  const std::vector<float> exact = nll({.exact = true});
  const auto distance = [&](const std::vector<float>& values) {
    double sum = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) sum += std::fabs(values[i] - exact[i]);
    return sum / static_cast<double>(exact.size());
  };
  const double here = distance(nll({}));
  const double there = distance(nll(kOnOpenCl));
  EXPECT_LT(there, 0.035);
  EXPECT_LT(there, 1.5 * here);
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

// Past the window, at the end of chunks and single steps.
std::vector<float> far_logits(const MadeModel& made, const ModelOptions& on) {
  const Model model = Model::load(made.bytes(), "made", on);
  Stream stream = model.open({.window = 20, .kv_type = KvType::kF32, .chunk = 16});
  const std::vector<Token> tokens = test::some_tokens(41, model.vocabulary_size());
  stream.feed(std::span(tokens).first(36));
  for (const Token token : std::span(tokens).subspan(36)) stream.push(token);
  return std::vector<float>(stream.logits().begin(), stream.logits().end());
}

class OpenClArchitecture : public testing::TestWithParam<ModelShape> {};

TEST_P(OpenClArchitecture, AgreesWithTheProcessorOrIsRefusedByName) {
  RUNNEL_NEED_OPENCL();
  const std::string architecture(GetParam().architecture);
  const MadeModel made = test::make(GetParam());
  const bool has_states = architecture.starts_with("qwen3next") ||
                          architecture.starts_with("qwen35") || architecture.starts_with("lfm2");
  if (has_states) {
    const std::string error = test::error_of([&] { Model::load(made.bytes(), "made", kOnOpenCl); });
    EXPECT_NE(error.find("does not run " + architecture + " models"), std::string::npos) << error;
    return;
  }
  EXPECT_LT(test::relative_error(far_logits(made, kOnOpenCl), far_logits(made, {})), 2e-3);
}

ModelShape gemma4_shape() {
  for (const ModelShape& shape : test::tiny_shapes()) {
    if (shape.architecture == std::string_view("gemma4")) return shape;
  }
  throw Error("no tiny Gemma 4");
}

TEST(OpenClGemma4, HasExpertsBesideADenseLayer) {
  RUNNEL_NEED_OPENCL();
  ModelShape shape = gemma4_shape();
  test::make_gemma4_experts(shape);
  const MadeModel made = test::make(shape);
  EXPECT_LT(test::relative_error(far_logits(made, kOnOpenCl), far_logits(made, {})), 2e-3);
}

// Layers that share the keys of earlier ones stay where these are.
TEST(OpenClGemma4, IsSplitWhereNoLayerIsCutOffItsKeys) {
  RUNNEL_NEED_OPENCL();
  const MadeModel made = test::make(gemma4_shape());
  const std::vector<float> want = far_logits(made, {});
  int n_split = 0, n_refused = 0;
  for (int n = 1; n < gemma4_shape().n_layers; ++n) {
    const ModelOptions on = {.device = "opencl:0", .device_layers = n};
    try {
      EXPECT_LT(test::relative_error(far_logits(made, on), want), 2e-3) << n;
      ++n_split;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("for later ones share their keys"),
                std::string::npos);
      ++n_refused;
    }
  }
  EXPECT_GT(n_split, 0);
  EXPECT_GT(n_refused, 0);
}

INSTANTIATE_TEST_SUITE_P(Every, OpenClArchitecture, testing::ValuesIn(test::tiny_shapes()),
                         test::ByParameter());

// Five launches a layer of one stream, nine of several, two for the logits and two or more for the
// token; no more are hidden in a step.
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
  for (int i = 0; i < 3; ++i) {  // the last ones are recorded
    EXPECT_EQ(launches_of(1), 5 * n_layers + 2 + 2);
    EXPECT_EQ(launches_of(4), 9 * n_layers + 2 + 5)
        << "a launch for each stream's logits, one more";
    EXPECT_EQ(launches_of(6), 10 * n_layers + 2 + 7) << "attention is a launch for four streams";
  }
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
