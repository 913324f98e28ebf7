// Every operation of the OpenCL device but products alone (opencl_test.cpp) against the processor's
// portable kernels, on random shapes with odd sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/numbers.h"
#include "support/opencl.h"
#include "support/parameters.h"

namespace runnel {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// A processor with the portable kernels, and the OpenCL device, whose operations get the same
// numbers.
class Both {
 public:
  explicit Both(const StepSizes& sizes) : sizes_(sizes), threads_(1) {
    devices_.push_back(make_cpu_device(threads_, *kernels::attainable_tables().items[0]));
    devices_.push_back(make_opencl_device(0));
  }

  // A matrix of random floats (or halves, or in Q8_0), that stays.
  const Linear& matrix(std::int64_t rows, std::int64_t cols, TensorType type = TensorType::kF32) {
    auto& stored = stored_.emplace_back();
    const std::vector<float> numbers = floats(size(rows * cols));
    if (type == TensorType::kF32) {
      stored.resize(numbers.size() * sizeof(float));
      std::memcpy(stored.data(), numbers.data(), stored.size());
    } else {  // Q8_0: a half and 32 bytes
      stored.resize(bytes_of(type, rows * cols));
      for (std::byte& b : stored) b = static_cast<std::byte>(random_() % 256);
      for (std::size_t i = 0; i < stored.size(); i += 34)
        stored[i] = std::byte{0}, stored[i + 1] = std::byte{0x18};
    }
    const Linear& linear = linears_.emplace_back(Linear{{type, rows, cols, stored.data()}, {}});
    given_.push_back(&linear);
    return linear;
  }
  const Linear& with_bias(std::int64_t rows, std::int64_t cols) {
    const Linear& linear = matrix(rows, cols);
    linears_.back().bias = floats(size(rows));
    return linear;
  }
  std::vector<float> floats(std::size_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> numbers(n);
    for (float& x : numbers) x = normal(random_);
    return numbers;
  }
  std::mt19937& random() { return random_; }

  // run(device, operations) of both; what it returns is compared: norms within `tolerance`.
  // `before` gives a device matrices that belong together.
  template <typename Run>
  void compare(double tolerance, Run run, const std::function<void(Device&)>& before = {}) {
    std::vector<std::vector<float>> results;
    for (const auto& device : devices_) {
      if (before) before(*device);
      for (const Linear* linear : given_) {
        const Matrix* const one = &linear->weight;
        device->take({&one, 1});
      }
      const auto operations = device->operations(sizes_);
      results.push_back(run(*device, *operations));
    }
    ASSERT_EQ(results[0].size(), results[1].size());
    for (const float x : results[1]) ASSERT_TRUE(std::isfinite(x));
    EXPECT_LT(test::relative_error(results[1], results[0]), tolerance);
  }

 private:
  StepSizes sizes_;
  ThreadPool threads_;
  std::mt19937 random_{11};
  std::list<std::vector<std::byte>> stored_;
  std::list<Linear> linears_;
  std::vector<const Linear*> given_;
  std::vector<std::unique_ptr<Device>> devices_;
};

std::vector<StepRow> rows_of(std::size_t n) { return std::vector<StepRow>(n); }

std::vector<float> read(Operations& operations, Rows rows, std::size_t n) {
  std::vector<float> out(n * size(rows.width));
  operations.read(rows, out.data());
  return out;
}

StepSizes sizes_for(int n, int dim, int ffn_dim) {
  return {.max_tokens = n,
          .dim = dim,
          .largest_input = std::max(dim, ffn_dim),
          .ffn_dim = ffn_dim,
          .q_dim = dim,
          .head_dim = dim,
          .vocabulary_size = 1};
}

TEST(OpenClOperations, NormalizeAsThePortableKernels) {
  RUNNEL_NEED_OPENCL();
  for (const int width : {1, 31, 64, 77, 200, 1027}) {
    for (const Norm kind : {Norm::kRms, Norm::kLayer}) {
      SCOPED_TRACE(testing::Message() << width << (kind == Norm::kRms ? " rms" : " layer"));
      Both both(sizes_for(3, width, 1));
      const NormWeights weights = {both.floats(size(width)),
                                   kind == Norm::kLayer ? both.floats(size(width)) : Vector{}};
      std::vector<float> x = both.floats(3 * size(width));
      for (float& value : x) value += 0.3f;
      both.compare(1e-5, [&](Device&, Operations& operations) {
        const auto rows = rows_of(3);
        const Rows in = operations.rows(width), out = operations.rows(width);
        operations.begin({rows, {}});
        operations.write(in, x.data());
        operations.normalize({&weights, kind, 1e-5f}, in, out);
        return read(operations, out, 3);
      });
    }
  }
}

struct FfnCase {
  const char* name;
  Activation activation;
  bool is_gated;
  TensorType type;
  int dim, ffn_dim, n;
  bool has_post_norm = false;
  float scale = 1;
};
void PrintTo(const FfnCase& c, std::ostream* out) { *out << c.name; }
class OpenClFfn : public testing::TestWithParam<FfnCase> {};

TEST_P(OpenClFfn, IsThatOfThePortableKernels) {
  RUNNEL_NEED_OPENCL();
  const FfnCase c = GetParam();
  Both both(sizes_for(c.n, c.dim, c.ffn_dim));
  const FeedForward ffn = {both.matrix(c.ffn_dim, c.dim, c.type),
                           both.matrix(c.ffn_dim, c.dim, c.type),
                           both.matrix(c.dim, c.ffn_dim, c.type)};
  const NormWeights norm = {both.floats(size(c.dim)), {}};
  const NormWeights post = {both.floats(size(c.dim)), {}};
  const std::vector<float> x = both.floats(size(c.n * c.dim));
  // The portable kernels multiply matrices that are not packed with floats, the device with int8.
  both.compare(c.type == TensorType::kF32 ? 2e-5 : 2e-2, [&](Device&, Operations& operations) {
    const auto rows = rows_of(size(c.n));
    const Rows in = operations.rows(c.dim);
    operations.begin({rows, {}});
    operations.write(in, x.data());
    operations.feed_forward({c.activation, c.is_gated}, ffn, {in, {&norm, Norm::kRms, 1e-6f}},
                            {in, {c.has_post_norm ? &post : nullptr, Norm::kRms, 1e-6f}, c.scale});
    return read(operations, in, size(c.n));
  });
}

INSTANTIATE_TEST_SUITE_P(
    OddSizes, OpenClFfn,
    testing::Values(
        FfnCase{"silu_alone", Activation::kSilu, true, TensorType::kF32, 45, 77, 1},
        FfnCase{"silu", Activation::kSilu, true, TensorType::kF32, 45, 77, 5},
        FfnCase{"gelu_alone", Activation::kGelu, false, TensorType::kF32, 33, 50, 1},
        FfnCase{"gelu", Activation::kGelu, false, TensorType::kF32, 33, 131, 3},
        FfnCase{"gated_gelu", Activation::kGelu, true, TensorType::kF32, 100, 19, 2},
        FfnCase{"swiglu_oai", Activation::kSwigluOai, true, TensorType::kF32, 51, 35, 9},
        FfnCase{"q8_0_alone", Activation::kSilu, true, TensorType::kQ8_0, 96, 160, 1},
        FfnCase{"q8_0", Activation::kSilu, true, TensorType::kQ8_0, 32, 288, 17},
        FfnCase{"post_norm_alone", Activation::kSilu, true, TensorType::kF32, 45, 77, 1, true},
        FfnCase{"scaled", Activation::kSilu, true, TensorType::kF32, 45, 77, 2, true, 0.7f}),
    test::ByParameter());

struct ExpertsCase {
  const char* name;
  int n_experts, n_used, n;
  bool is_sigmoid, has_bias, has_shared, has_shared_gate;
};
void PrintTo(const ExpertsCase& c, std::ostream* out) { *out << c.name; }
class OpenClExperts : public testing::TestWithParam<ExpertsCase> {};

TEST_P(OpenClExperts, AreThoseOfThePortableKernels) {
  RUNNEL_NEED_OPENCL();
  const ExpertsCase c = GetParam();
  constexpr int kDim = 43, kFfn = 37;
  StepSizes sizes = sizes_for(c.n, kDim, kFfn);
  sizes.n_experts = c.n_experts;
  sizes.n_experts_used = c.n_used;
  Both both(sizes);
  std::vector<FeedForward> experts;
  for (int e = 0; e < c.n_experts; ++e)
    experts.push_back({both.matrix(kFfn, kDim), both.matrix(kFfn, kDim), both.matrix(kDim, kFfn)});
  const FeedForward shared = {both.matrix(kFfn, kDim), both.matrix(kFfn, kDim),
                              both.matrix(kDim, kFfn)};
  const Linear& router = both.matrix(c.n_experts, kDim);
  const Linear& shared_gate = both.matrix(1, kDim);
  const std::vector<float> bias = both.floats(size(c.n_experts));
  const std::vector<float> x = both.floats(size(c.n * kDim));
  const NormWeights norm = {both.floats(kDim), {}};
  const auto give_experts = [&](Device& device) {
    for (const auto linear : {&FeedForward::gate, &FeedForward::up, &FeedForward::down}) {
      std::vector<const Matrix*> all;
      for (const FeedForward& expert : experts) all.push_back(&(expert.*linear).weight);
      device.take(all);
    }
  };
  const auto run = [&](Device&, Operations& operations) {
    const auto rows = rows_of(size(c.n));
    const Rows in = operations.rows(kDim);
    operations.begin({rows, {}});
    operations.write(in, x.data());
    operations.experts(
        {.router = &router,
         .experts = experts,
         .n_used = c.n_used,
         .ffn = {},
         .is_sigmoid = c.is_sigmoid,
         .bias = c.has_bias ? std::span<const float>(bias) : std::span<const float>(),
         .shared = c.has_shared ? &shared : nullptr,
         .shared_gate = c.has_shared_gate ? &shared_gate : nullptr},
        {in, {&norm, Norm::kRms, 1e-6f}}, {in, {}, 1});
    return read(operations, in, size(c.n));
  };
  both.compare(2e-5, run, give_experts);
}

INSTANTIATE_TEST_SUITE_P(
    EveryRouter, OpenClExperts,
    testing::Values(ExpertsCase{"softmax", 5, 2, 3, false, false, false, false},
                    ExpertsCase{"one_of_three", 3, 1, 1, false, false, false, false},
                    ExpertsCase{"bias", 7, 3, 4, false, true, false, false},
                    ExpertsCase{"sigmoids", 7, 3, 5, true, true, true, false},
                    ExpertsCase{"gated_shared", 4, 4, 2, false, false, true, true},
                    ExpertsCase{"gated_shared_alone", 6, 2, 1, true, false, true, true}),
    test::ByParameter());

struct AttentionCase {
  const char* name;
  int n_heads, n_kv_heads, head_dim, n_pairs;
  RopeStyle rope;
  std::int64_t sinks, window;
  KvType type = KvType::kF32;
  float clamp = 0, softcap = 0, query_scale = 1;
  bool has_norms = false, has_rotated_weights = false, has_alibi = false, has_head_sinks = false,
       is_off_by_one = false;
};
void PrintTo(const AttentionCase& c, std::ostream* out) { *out << c.name; }
class OpenClAttentionCase : public testing::TestWithParam<AttentionCase> {};

// Steps of several lengths, one row among them, far past the window: rotation, cache and softmax.
TEST_P(OpenClAttentionCase, IsThatOfThePortableKernels) {
  RUNNEL_NEED_OPENCL();
  const AttentionCase c = GetParam();
  constexpr int kStepTokens = 7, kDim = 29;
  const int q_dim = c.n_heads * c.head_dim, kv_dim = c.n_kv_heads * c.head_dim;
  StepSizes sizes = sizes_for(kStepTokens, std::max(kDim, q_dim), 1);
  sizes.q_dim = q_dim;
  sizes.head_dim = c.head_dim;
  Both both(sizes);
  const Linear& output = both.matrix(kDim, q_dim);
  const NormWeights q_norm = {both.floats(size(c.head_dim)), {}};
  const NormWeights k_norm = {both.floats(size(c.head_dim)), {}};
  const std::vector<float> rotated = both.floats(size(c.head_dim));
  const std::vector<float> head_sinks = both.floats(size(c.n_heads));
  const std::vector<float> slopes = both.floats(size(c.n_heads));
  AttentionLayer layer = {.n_heads = c.n_heads,
                          .n_kv_heads = c.n_kv_heads,
                          .head_dim = c.head_dim,
                          .rope = c.rope,
                          .q_norm = c.has_norms ? &q_norm : nullptr,
                          .k_norm = c.has_norms ? &k_norm : nullptr,
                          .norm_epsilon = 1e-6f,
                          .clamp = c.clamp,
                          .scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
                          .softcap = c.softcap,
                          .output = &output};
  if (c.has_rotated_weights) layer.rotated_weights = rotated;
  if (c.has_alibi) layer.alibi_slopes = slopes;
  if (c.has_head_sinks) layer.sink_logits = head_sinks;
  const std::vector<int> steps = {5, 1, 7, 1, 1, 2, 7, 1, 7, 3};
  std::vector<std::vector<float>> inputs;
  for (const int n : steps) inputs.push_back(both.floats(size(n * (q_dim + 2 * kv_dim))));
  const CachePolicy policy = {static_cast<int>(c.sinks), c.window};
  const double tolerance = c.type == KvType::kF32 ? 2e-5 : 2e-3;
  both.compare(tolerance, [&](Device& device, Operations& operations) {
    CacheShape shape = {
        .heads = {{c.n_kv_heads, c.head_dim}}, .type = c.type, .chunk = kStepTokens};
    shape.layers.push_back(LayerSight::of(policy, 0));
    shape.sources.push_back(device.cache_memory());
    KvCache cache(shape);
    const Rows q = operations.rows(q_dim), k = operations.rows(kv_dim), v = operations.rows(kv_dim);
    const Rows x = operations.rows(kDim);
    std::vector<float> all;
    for (std::size_t step = 0; step < steps.size(); ++step) {
      const int n = steps[step];
      cache.reserve(n);
      std::vector<StepRow> rows;
      std::vector<std::vector<float>> angles(6, std::vector<float>(size(n * c.n_pairs)));
      for (int i = 0; i < n; ++i) {
        const std::int64_t position = cache.position() + i;
        const std::int64_t place = policy.cache_position(position);
        rows.push_back(
            {0, 0, &cache, position, place, c.is_off_by_one ? 0.0f : -INFINITY, c.query_scale});
        for (int pair = 0; pair < c.n_pairs; ++pair) {
          const std::size_t at = size(i * c.n_pairs + pair);
          const float frequency = 1.0f / static_cast<float>(1 + pair);
          const auto set = [&](std::size_t which, std::int64_t p) {
            angles[which][at] = std::cos(frequency * static_cast<float>(p));
            angles[which + 1][at] = std::sin(frequency * static_cast<float>(p));
          };
          set(0, position), set(2, place), set(4, 2 * place - position);
        }
      }
      const AngleTable table = {c.n_pairs,        angles[0].data(), angles[1].data(),
                                angles[2].data(), angles[3].data(), angles[4].data(),
                                angles[5].data()};
      operations.begin({rows, {&table, 1}});
      const float* from = inputs[step].data();
      operations.write(q, from);
      operations.write(k, from + n * q_dim);
      operations.write(v, from + n * (q_dim + kv_dim));
      operations.write(x, from);
      operations.rotate_and_store(layer, q, k, v);
      operations.attend(layer, q, {x, {}, 1});
      const std::vector<float> out = read(operations, x, size(n));
      all.insert(all.end(), out.begin(), out.end());
      cache.advance(n);
    }
    return all;
  });
}

INSTANTIATE_TEST_SUITE_P(
    OddShapes, OpenClAttentionCase,
    testing::Values(AttentionCase{"plain", 3, 1, 32, 16, RopeStyle::kHalves, 4, 11},
                    AttentionCase{"odd_head", 5, 5, 37, 18, RopeStyle::kHalves, 3, 9},
                    AttentionCase{"odd_pairs", 6, 2, 21, 5, RopeStyle::kInterleaved, 1, 13},
                    AttentionCase{"large_head", 2, 1, 300, 150, RopeStyle::kHalves, 2, 6},
                    AttentionCase{"no_rotation", 3, 3, 19, 0, RopeStyle::kNone, 4, 8, KvType::kF32,
                                  0, 0, 1, false, false, true},
                    AttentionCase{"capped", 4, 2, 24, 12, RopeStyle::kHalves, 2, 10, KvType::kF32,
                                  0.8f, 3.0f, 1.3f},
                    AttentionCase{"norms", 4, 2, 33, 16, RopeStyle::kHalves, 4, 12, KvType::kF32, 0,
                                  0, 1, true},
                    AttentionCase{"norms_behind_rotation", 4, 2, 34, 16, RopeStyle::kHalves, 4, 12,
                                  KvType::kF32, 0, 0, 1, true, true},
                    AttentionCase{"learned_sinks", 6, 3, 16, 8, RopeStyle::kHalves, 0, 10,
                                  KvType::kF32, 0, 0, 1, false, false, false, true},
                    AttentionCase{"off_by_one", 2, 2, 40, 20, RopeStyle::kInterleaved, 3, 9,
                                  KvType::kF32, 0, 0, 1, false, false, false, true, true},
                    AttentionCase{"f16", 3, 1, 48, 24, RopeStyle::kHalves, 4, 11, KvType::kF16},
                    AttentionCase{"bf16", 3, 1, 35, 17, RopeStyle::kHalves, 4, 11, KvType::kBF16},
                    AttentionCase{"q8_0", 4, 2, 48, 24, RopeStyle::kHalves, 4, 11, KvType::kQ8_0},
                    AttentionCase{"q8_0_odd", 4, 2, 37, 18, RopeStyle::kHalves, 5, 7,
                                  KvType::kQ8_0},
                    AttentionCase{"dense", 2, 1, 32, 16, RopeStyle::kHalves, 0, kUnbounded}),
    test::ByParameter());

TEST(OpenClOperations, MakeLogitsAsThePortableKernels) {
  RUNNEL_NEED_OPENCL();
  for (const float softcap : {0.0f, 5.0f}) {
    constexpr int kDim = 45, kVocabulary = 517, kRows = 35;  // more than are made together
    StepSizes sizes = sizes_for(kRows, kDim, 1);
    sizes.vocabulary_size = kVocabulary;
    Both both(sizes);
    const Linear& output = both.with_bias(kVocabulary, kDim);
    const NormWeights norm = {both.floats(kDim), both.floats(kDim)};
    const std::vector<float> x = both.floats(kRows * kDim);
    both.compare(2e-5, [&](Device&, Operations& operations) {
      const auto rows = rows_of(kRows);
      const Rows in = operations.rows(kDim);
      operations.begin({rows, {}});
      operations.write(in, x.data());
      std::vector<float> all;
      operations.logits({in, {&norm, Norm::kLayer, 1e-5f}}, output, softcap,
                        [&](std::size_t row, std::span<const float> logits) {
                          EXPECT_EQ(row, all.size() / kVocabulary);
                          all.insert(all.end(), logits.begin(), logits.end());
                        });
      return all;
    });
  }
}

}  // namespace
}  // namespace runnel
