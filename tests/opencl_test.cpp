// The OpenCL device against references and against the processor.
#include "support/opencl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/pack/dequantize.h"
#include "support/numbers.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/temp_dir.h"

namespace runnel {
namespace {

std::size_t n_of(std::int64_t n) { return static_cast<std::size_t>(n); }

std::vector<Token> tokens_at_random(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(n);
  for (Token& token : tokens) token = static_cast<Token>(random() % 500);
  return tokens;
}

struct ProductCase {
  TensorType type;
  std::int64_t cols;
};
void PrintTo(const ProductCase& c, std::ostream* out) { *out << traits(c.type).name; }

class OpenClProduct : public testing::TestWithParam<ProductCase> {};

// Random bytes with small scales: every type's halves and exponents are set below 1.
std::vector<std::byte> random_matrix(TensorType type, std::int64_t n, std::mt19937& random) {
  std::vector<std::byte> bytes(bytes_of(type, n));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random() % 64);  // no half above 2
  for (std::size_t i = 0; type == TensorType::kMXFP4 && i < bytes.size(); i += 17)
    bytes[i] = static_cast<std::byte>(120 + random() % 8);
  for (std::size_t i = 1; type == TensorType::kIQ3_XXS && i < bytes.size(); i += 98)
    bytes[i] |= std::byte{0x10};  // no subnormal half, which packing would round (packed.h)
  return bytes;
}

// What products of a quantised matrix take: int8 with a scale a chunk.
std::vector<double> as_quantised(std::span<const float> x) {
  std::vector<double> out;
  for (std::size_t first = 0; first < x.size(); first += 32) {
    float largest = 0;
    for (std::size_t i = first; i < first + 32; ++i) largest = std::max(largest, std::fabs(x[i]));
    for (std::size_t i = first; i < first + 32; ++i)
      out.push_back(static_cast<double>(std::nearbyint(x[i] * (127 / largest))) *
                    static_cast<double>(largest) / 127);
  }
  return out;
}

TEST_P(OpenClProduct, IsThatOfTheDequantisedWeightsForOneRowAndMany) {
  RUNNEL_NEED_OPENCL();
  const auto [type, cols] = GetParam();
  constexpr std::int64_t kRows = 75;
  // The products of many tokens are compiled for one type of each kind, as PoCL takes its time.
  constexpr TensorType kWide[] = {TensorType::kF16, TensorType::kQ8_0, TensorType::kQ4_1,
                                  TensorType::kQ4_K, TensorType::kQ6_K};
  const bool is_wide = std::find(std::begin(kWide), std::end(kWide), type) != std::end(kWide);
  const int n_tokens = is_wide ? 39 : 7;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto stored = random_matrix(type, kRows * cols, random);
  Linear linear = {{type, kRows, cols, stored.data()}, {}};
  for (int i = 0; i < kRows; ++i) linear.bias.push_back(normal(random));
  std::vector<float> x(n_of(n_tokens * cols));
  for (float& value : x) value = normal(random);
  std::vector<float> weights(n_of(kRows * cols));
  for (std::int64_t row = 0; row < kRows; ++row)
    kernels::dequantize_row(type, stored.data() + n_of(row) * linear.weight.row_bytes(),
                            &weights[n_of(row * cols)], cols);

  const bool is_quantised = kernels::packed_format(type).has_value();
  const auto product_of = [&](int n) {
    const auto device = make_opencl_device(0);
    const Matrix* const matrix = &linear.weight;
    device->take({&matrix, 1});
    const auto operations = device->operations({.max_tokens = n,
                                                .dim = static_cast<int>(cols),
                                                .largest_input = static_cast<int>(cols),
                                                .ffn_dim = 1,
                                                .q_dim = 1,
                                                .head_dim = 1,
                                                .vocabulary_size = 1});
    const Rows in = operations->rows(static_cast<int>(cols));
    const Rows out = operations->rows(kRows);
    const Product product = {&linear, out};
    const std::vector<StepRow> rows(n_of(n));
    operations->begin({rows, {}});
    operations->write(in, x.data());
    operations->multiply({in, {}}, {&product, 1});
    std::vector<float> got(n_of(n * kRows));
    operations->read(out, got.data());
    return got;
  };
  const std::vector<float> all = product_of(n_tokens);
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    const std::span<const float> row =
        std::span<const float>(x).subspan(n_of(t * cols), n_of(cols));
    const std::vector<double> input =
        is_quantised ? as_quantised(row) : std::vector<double>(row.begin(), row.end());
    for (std::int64_t r = 0; r < kRows; ++r) {
      double want = static_cast<double>(linear.bias[n_of(r)]);
      double scale = 1;
      for (std::int64_t c = 0; c < cols; ++c) {
        const double term = static_cast<double>(weights[n_of(r * cols + c)]) * input[n_of(c)];
        want += term;
        scale += std::fabs(term);
      }
      ASSERT_NEAR(all[n_of(t * kRows + r)], want, 1e-5 * scale) << "token " << t << " row " << r;
    }
  }
  // One row's bits, a few rows', and those of either way to share the weights among many.
  for (const int n : {1, 5}) {
    const std::vector<float> some = product_of(n);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << n;
  }
  if (!is_wide) return;
  const test::TunedSizes tuned;
  for (const std::size_t together : {16, 32}) {
    tuned.force("product:", together);
    EXPECT_EQ(product_of(n_tokens), all) << together;
  }
}

INSTANTIATE_TEST_SUITE_P(
    EveryType, OpenClProduct,
    testing::Values(ProductCase{TensorType::kF32, 77}, ProductCase{TensorType::kF16, 75},
                    ProductCase{TensorType::kBF16, 70}, ProductCase{TensorType::kQ8_0, 352},
                    ProductCase{TensorType::kQ4_0, 96}, ProductCase{TensorType::kQ4_1, 96},
                    ProductCase{TensorType::kQ5_0, 96}, ProductCase{TensorType::kQ5_1, 96},
                    ProductCase{TensorType::kMXFP4, 64}, ProductCase{TensorType::kQ2_K, 512},
                    ProductCase{TensorType::kQ3_K, 512}, ProductCase{TensorType::kQ4_K, 512},
                    ProductCase{TensorType::kQ5_K, 512}, ProductCase{TensorType::kQ6_K, 768},
                    ProductCase{TensorType::kIQ4_NL, 96}, ProductCase{TensorType::kIQ4_XS, 512},
                    ProductCase{TensorType::kIQ3_S, 512}, ProductCase{TensorType::kIQ3_XXS, 512}),
    test::ByParameter());

struct ModelCase {
  const char* name;
  double tolerance;  // norm of the difference over the norm, to the processor's
};
void PrintTo(const ModelCase& c, std::ostream* out) { *out << c.name; }

class OpenClModel : public testing::TestWithParam<ModelCase> {};

// Past the window, so that sinks, eviction and both rotations count.
TEST_P(OpenClModel, AgreesWithTheProcessorAndItsChunksWithSingleSteps) {
  RUNNEL_NEED_OPENCL();
  const auto path = test::fixture(std::string("models/") + GetParam().name + ".gguf");
  test::LoadedDecoder processor(path);
  test::OpenClDecoder opencl(gguf::File::open(path));
  const std::vector<Token> tokens = tokens_at_random(41, 3);
  struct Cache {
    CachePolicy policy;
    KvType type;
    Softmax softmax;
  };
  for (const Cache& c : {Cache{{4, 12}, KvType::kF32, Softmax::kStandard},
                         Cache{{3, 9}, KvType::kF16, Softmax::kOffByOne},
                         Cache{{0, 13}, KvType::kBF16, Softmax::kStandard},
                         Cache{{2, kUnbounded}, KvType::kQ8_0, Softmax::kStandard}}) {
    KvCache of_processor = processor.cache(c.policy, c.type, 16);
    const auto want = processor.all_logits(of_processor, tokens, 16, c.softmax);
    KvCache single = opencl.cache(c.policy, c.type, 16);
    const auto got = opencl.logits(single, tokens, 1, c.softmax);
    // Where the processor takes half-precision caches as bfloat16 it is coarser, and a router may
    // choose another expert where two are near.
    const bool is_alike = c.type == KvType::kF32 ||
                          kernels::best_table().attention_numbers == kernels::Numbers::kFloat;
    const double tolerance = is_alike ? GetParam().tolerance : 0.15;
    EXPECT_LT(test::relative_error(got, want), tolerance) << "window " << c.policy.window;
    for (const int chunk : {3, 16}) {
      KvCache chunked = opencl.cache(c.policy, c.type, 16);
      EXPECT_EQ(opencl.logits(chunked, tokens, chunk, c.softmax), got) << "chunk " << chunk;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Our, OpenClModel,
                         testing::Values(ModelCase{"llama-gqa", 1e-3}, ModelCase{"qwen3", 1e-3},
                                         ModelCase{"falcon-mqa", 1e-3}, ModelCase{"mpt", 1e-3},
                                         ModelCase{"pythia", 1e-3},
                                         ModelCase{"gpt-oss-yarn", 1e-3}),
                         test::ByParameter());

TEST(OpenClBatch, GivesEachStreamTheBitsItGetsAlone) {
  RUNNEL_NEED_OPENCL();
  test::OpenClDecoder decoder(gguf::File::open(test::fixture("models/llama-gqa.gguf")));
  struct Stretch {
    CachePolicy policy;
    KvType type;
  };
  const std::vector<Stretch> parts = {{{4, 12}, KvType::kF32}, {{0, 7}, KvType::kQ8_0}};
  std::vector<std::vector<float>> want, got(parts.size());
  std::vector<std::vector<Token>> tokens;
  std::vector<KvCache> caches;
  for (const Stretch& part : parts) {
    tokens.push_back(tokens_at_random(30, static_cast<unsigned>(tokens.size())));
    KvCache cache = decoder.cache(part.policy, part.type, 16);
    want.push_back(decoder.logits(cache, tokens.back(), 16));
    caches.push_back(decoder.cache(part.policy, part.type, 16));
  }
  for (std::size_t first = 0; first < 30; first += 5) {
    std::vector<Segment> batch;
    for (std::size_t i = 0; i < parts.size(); ++i)
      batch.push_back({&caches[i], std::span<const Token>(tokens[i]).subspan(first, 5),
                       Softmax::kStandard, Segment::Logits::kAll});
    decoder.decoder().step(batch, [&](std::size_t i, std::size_t, std::span<const float> logits) {
      got[i].insert(got[i].end(), logits.begin(), logits.end());
    });
  }
  EXPECT_EQ(got, want);
}

TEST(OpenClStep, GivesTheLogitsThatAreWantedTheBitsOfAll) {
  RUNNEL_NEED_OPENCL();
  test::OpenClDecoder decoder(gguf::File::open(test::fixture("models/falcon-mqa.gguf")));
  const std::vector<Token> tokens = tokens_at_random(11, 5);
  KvCache of_all = decoder.cache({4, 6}, KvType::kF16, 16);
  KvCache of_last = decoder.cache({4, 6}, KvType::kF16, 16);
  const std::vector<float> want = decoder.logits(of_all, tokens, 11);
  const Segment segment = {&of_last, tokens, Softmax::kStandard, Segment::Logits::kLast};
  std::vector<float> got;
  decoder.decoder().step({&segment, 1},
                         [&](std::size_t, std::size_t, std::span<const float> logits) {
                           got.assign(logits.begin(), logits.end());
                         });
  EXPECT_TRUE(std::equal(got.begin(), got.end(), want.end() - std::ssize(got), want.end()));
  EXPECT_EQ(decoder.logits(of_last, tokens, 3), decoder.logits(of_all, tokens, 3));
}

TEST(OpenClSplit, GoesOnOnTheProcessorAfterSomeLayers) {
  RUNNEL_NEED_OPENCL();
  const auto path = test::fixture("models/llama-gqa.gguf");
  test::LoadedDecoder processor(path);
  test::OpenClDecoder split(gguf::File::open(path), 1);
  const std::vector<Token> tokens = tokens_at_random(40, 8);
  KvCache of_processor = processor.cache({4, 12}, KvType::kF32, 16);
  const auto want = processor.all_logits(of_processor, tokens, 16);
  KvCache single = split.cache({4, 12}, KvType::kF32, 16);
  const auto got = split.logits(single, tokens, 1);
  EXPECT_LT(test::relative_error(got, want), 1e-3);
  KvCache chunked = split.cache({4, 12}, KvType::kF32, 16);
  EXPECT_EQ(split.logits(chunked, tokens, 16), got);
  std::vector<std::byte> room, more_room;
  EXPECT_EQ(single.raw(room).size(), of_processor.raw(more_room).size());
}

// From the third time on, the step of the same caches is one command; its bits are those of a
// chunk.
TEST(OpenClRecording, RunsTheStepsOfTheSameCachesAgain) {
  RUNNEL_NEED_OPENCL();
  test::OpenClDecoder decoder(gguf::File::open(test::fixture("models/llama-gqa.gguf")));
  const std::vector<Token> tokens = tokens_at_random(40, 6);
  KvCache chunked = decoder.cache({4, 12}, KvType::kF16, 16);
  const std::vector<float> want = decoder.logits(chunked, tokens, 16);
  const std::uint64_t before = decoder.device().counters().recorded_steps;
  KvCache single = decoder.cache({4, 12}, KvType::kF16, 16);
  EXPECT_EQ(decoder.logits(single, tokens, 1), want);
  const bool can_record =
      decoder.device().description().extensions.find("cl_khr_command_buffer") != std::string::npos;
  // Two kinds of steps, before and after eviction begins, are met once each without a recording.
  EXPECT_EQ(decoder.device().counters().recorded_steps - before, can_record ? 38 : 0);
  // A cache that comes where another was is another.
  std::vector<std::uint64_t> launches;
  for (int i = 0; i < 3; ++i) {
    KvCache again = decoder.cache({4, 12}, KvType::kQ8_0, 16);
    const std::uint64_t begun = decoder.device().counters().launches;
    decoder.logits(again, std::span(tokens).first(20), 1);
    launches.push_back(decoder.device().counters().launches - begun);
  }
  EXPECT_EQ(launches[1], launches[0]);
  EXPECT_EQ(launches[2], launches[0]);
}

// A cache folder of the test's own.
class CacheFolder {
 public:
  CacheFolder() { ::setenv("RUNNEL_CACHE", path().c_str(), 1); }
  CacheFolder(const CacheFolder&) = delete;
  CacheFolder& operator=(const CacheFolder&) = delete;
  ~CacheFolder() {
    given_ ? ::setenv("RUNNEL_CACHE", given_->c_str(), 1) : ::unsetenv("RUNNEL_CACHE");
  }
  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  static std::optional<std::string> given() {
    const char* const value = std::getenv("RUNNEL_CACHE");
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  }
  const std::optional<std::string> given_ = given();
  const test::TempDir folder_;
};

TEST(OpenClPrograms, LeaveTheCacheWhenNobodyWantedThemForHalfAYear) {
  RUNNEL_NEED_OPENCL();
  namespace fs = std::filesystem;
  const CacheFolder folder;
  const auto build = [] {
    test::OpenClDecoder decoder(gguf::File::open(test::fixture("models/llama-gqa.gguf")));
    KvCache cache = decoder.cache({4, 6}, KvType::kF16, 4);
    decoder.logits(cache, tokens_at_random(23, 3), 3);
  };
  const auto put = [&](const char* name, int days) {
    std::ofstream(folder.path() / name) << "x";
    fs::last_write_time(folder.path() / name,
                        fs::file_time_type::clock::now() - std::chrono::hours(24 * days));
  };
  put("opencl-old.bin", 200);
  put("opencl-recent.bin", 100);
  put("model.gguf", 200);
  build();
  EXPECT_FALSE(fs::exists(folder.path() / "opencl-old.bin"));
  EXPECT_TRUE(fs::exists(folder.path() / "opencl-recent.bin"));
  EXPECT_TRUE(fs::exists(folder.path() / "model.gguf"));
  // One that is wanted again stays.
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  const auto n_renewed = [&] {
    int n = 0;
    for (const auto& entry : fs::directory_iterator(folder.path()))
      n += entry.path().extension() == ".bin" && entry.last_write_time() > yesterday;
    return n;
  };
  for (const auto& entry : fs::directory_iterator(folder.path()))
    fs::last_write_time(entry, yesterday - std::chrono::hours(1));
  ASSERT_EQ(n_renewed(), 0);
  build();
  EXPECT_GT(n_renewed(), 0);
}

// What is fastest is measured once, kept in the cache folder, and changes no bit.
TEST(OpenClTuning, IsKeptAndChangesNoBit) {
  RUNNEL_NEED_OPENCL();
  const CacheFolder folder;
  const std::vector<Token> tokens = tokens_at_random(23, 5);
  const auto logits = [&] {
    test::OpenClDecoder decoder(gguf::File::open(test::fixture("models/llama-gqa.gguf")));
    KvCache cache = decoder.cache({4, 6}, KvType::kF16, 32);
    std::vector<float> all = decoder.logits(cache, tokens, 20);
    const std::vector<float> single = decoder.logits(cache, std::span(tokens).first(2), 1);
    all.insert(all.end(), single.begin(), single.end());
    return all;
  };
  const std::vector<float> want = logits();
  std::filesystem::path kept;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().extension() == ".tuned") kept = entry.path();
  }
  ASSERT_FALSE(kept.empty());
  {
    const test::TunedSizes tuned;
    const auto sizes = tuned.all();
    const auto is_of = [&](const char* prefix) {
      return [prefix](const auto& size) { return size.first.starts_with(prefix); };
    };
    EXPECT_TRUE(std::any_of(sizes.begin(), sizes.end(), is_of("gate_up:")));
    EXPECT_TRUE(std::any_of(sizes.begin(), sizes.end(), is_of("product:")));
    for (const std::size_t group : {128, 256}) {
      tuned.force("gate_up:", group);
      EXPECT_EQ(logits(), want) << group;
    }
    for (const std::size_t together : {16, 32}) {
      tuned.force("product:", together);
      EXPECT_EQ(logits(), want) << together;
    }
  }
  const auto n_lines = [&] {
    std::ifstream in(kept);
    return std::count(std::istreambuf_iterator<char>(in), {}, '\n');
  };
  const auto n_kept = n_lines();
  EXPECT_EQ(logits(), want);
  EXPECT_EQ(n_lines(), n_kept) << "what is kept is not measured again";
}

TEST(OpenClAttention, ReportsTheWeightsOfTheProcessor) {
  RUNNEL_NEED_OPENCL();
  const auto path = test::fixture("models/llama-gqa.gguf");
  test::LoadedDecoder processor(path);
  test::OpenClDecoder opencl(gguf::File::open(path));
  const std::vector<Token> tokens = tokens_at_random(30, 9);
  using Key = std::tuple<std::size_t, int, int, std::int64_t>;  // token, layer, head, position
  const auto observe = [&](Decoder& decoder, KvCache cache) {
    std::map<Key, float> all;
    decoder.observe_attention([&](const AttentionWeights& w) {
      for (std::size_t i = 0; i < w.sinks.size(); ++i)
        if (w.sinks[i] > 0)
          all[{w.token, w.layer, w.head, static_cast<std::int64_t>(i)}] = w.sinks[i];
      for (std::size_t i = 0; i < w.window.size(); ++i)
        if (w.window[i] > 0)
          all[{w.token, w.layer, w.head, w.first_position + static_cast<std::int64_t>(i)}] =
              w.window[i];
    });
    const Segment segment = {&cache, tokens, Softmax::kOffByOne, Segment::Logits::kNone};
    decoder.step({&segment, 1}, [](std::size_t, std::size_t, std::span<const float>) {});
    return all;
  };
  const auto want = observe(processor.decoder(), processor.cache({4, 9}, KvType::kF32, 32));
  const auto got = observe(opencl.decoder(), opencl.cache({4, 9}, KvType::kF32, 32));
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [key, weight] : want) ASSERT_NEAR(got.at(key), weight, 1e-4);
}

}  // namespace
}  // namespace runnel
