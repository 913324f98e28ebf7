// Tokens sampled on the OpenCL device beside those of the processor's sampler.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "sampling/sampler.h"
#include "support/error_text.h"
#include "support/opencl.h"
#include "support/parameters.h"

namespace runnel {
namespace {

constexpr std::size_t kStreams = 6;

// A device's operations for nothing but sampling, with rows of logits for some streams.
struct Sampling {
  Sampling(std::unique_ptr<Device> given, int vocabulary_size)
      : device(std::move(given)),
        operations(device->operations({.max_tokens = 1,
                                       .dim = 1,
                                       .largest_input = 1,
                                       .ffn_dim = 1,
                                       .q_dim = 1,
                                       .head_dim = 1,
                                       .vocabulary_size = vocabulary_size})) {
    for (std::size_t i = 0; i < kStreams; ++i) rows.push_back(device->logits_row(vocabulary_size));
  }
  std::vector<Chosen> sample(std::vector<Choice> choices) {
    std::vector<Chosen> chosen(choices.size());
    for (std::size_t i = 0; i < choices.size(); ++i) choices[i].logits = rows[i].get();
    operations->sample(choices, chosen);
    return chosen;
  }
  std::unique_ptr<Device> device;
  std::unique_ptr<Operations> operations;
  std::vector<std::unique_ptr<LogitsRow>> rows;
};

std::vector<SamplingOptions> many_options() {
  std::vector<SamplingOptions> all = {{.temperature = 0}};
  for (const int top_k : {1, 7, 40, 256, 300, 0}) {
    for (const float top_p : {1.0f, 0.9f, 0.3f}) {
      for (const float min_p : {0.0f, 0.05f}) {
        const float temperature = top_k == 7 ? 0.1f : top_k == 40 ? 0.8f : 5.0f;
        all.push_back({.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p});
      }
    }
  }
  return all;
}

// Numbers with ties, minus infinities and some that are none.
std::vector<float> random_logits(std::mt19937& random, int n) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<std::size_t>(n));
  for (float& x : logits) x = normal(random);
  if (random() % 2 == 0)
    for (float& x : logits) x = std::round(x * 2) / 2 * (random() % 2 == 0 ? 1.0f : -1.0f);
  for (int i = 0; i < n / 8; ++i)
    logits[random() % logits.size()] = -std::numeric_limits<float>::infinity();
  return logits;
}

class OpenClSampling : public testing::TestWithParam<int> {};

// All options, several streams at once, and the random state that is left.
TEST_P(OpenClSampling, ChoosesTheTokenOfTheProcessor) {
  RUNNEL_NEED_OPENCL();
  const int vocabulary = GetParam();
  ThreadPool threads(1);
  Sampling here(make_cpu_device(threads), vocabulary);
  Sampling there(make_opencl_device(0), vocabulary);
  std::mt19937 random(static_cast<unsigned>(vocabulary));
  for (const SamplingOptions& options : many_options()) {
    std::vector<Sampler> samplers(kStreams, Sampler(options, vocabulary));
    std::vector<Sampler> device_samplers = samplers;
    for (int round = 0; round < 12; ++round) {
      std::vector<Choice> choices, device_choices;
      for (std::size_t i = 0; i < kStreams; ++i) {
        const std::vector<float> logits = random_logits(random, vocabulary);
        here.rows[i]->write(logits);
        there.rows[i]->write(logits);
        const std::uint64_t state = random() * std::uint64_t{0x9e3779b97f4a7c15u};
        samplers[i].set_random_state(state);
        device_samplers[i].set_random_state(state);
        const auto n_writable =
            static_cast<std::size_t>(i == 0 ? (vocabulary + 1) / 2 : vocabulary);
        choices.push_back({.sampler = &samplers[i], .n_writable = n_writable});
        device_choices.push_back({.sampler = &device_samplers[i], .n_writable = n_writable});
      }
      const auto want = here.sample(choices);
      const auto got = there.sample(device_choices);
      for (std::size_t i = 0; i < kStreams; ++i) {
        ASSERT_EQ(got[i].token, want[i].token)
            << "top-k " << options.top_k << " top-p " << options.top_p << " round " << round;
        EXPECT_EQ(got[i].logit, want[i].logit);
        EXPECT_NEAR(got[i].log_sum, want[i].log_sum, 1e-5f * std::fabs(want[i].log_sum) + 1e-6f);
        EXPECT_EQ(device_samplers[i].random_state(), samplers[i].random_state());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabulary, OpenClSampling, testing::Values(5, 515, 4099, 40001),
                         test::ByParameter());

// What the kernels do not know is chosen here, of logits that come back; a token that was chosen
// has the same numbers as one that is sampled.
TEST(OpenClSampling, LeavesPenaltiesAndConstraintsToTheProcessor) {
  RUNNEL_NEED_OPENCL();
  constexpr int kVocabulary = 700;
  ThreadPool threads(1);
  Sampling here(make_cpu_device(threads), kVocabulary);
  Sampling there(make_opencl_device(0), kVocabulary);
  std::mt19937 random(4);
  const std::vector<Token> visible = {3, 5, 5, 400};
  std::vector<std::uint64_t> allowed(11, 0);
  allowed[2] = 0xff;
  for (int round = 0; round < 20; ++round) {
    Sampler penalized({.repetition_penalty = 1.5f, .seed = 1}, kVocabulary);
    Sampler bound({.seed = 2}, kVocabulary);
    Sampler greedy({.temperature = 0}, kVocabulary);
    for (std::size_t i = 0; i < kStreams; ++i) {
      std::vector<float> logits = random_logits(random, kVocabulary);
      logits[130] = logits[17] = 0.5f;
      here.rows[i]->write(logits);
      there.rows[i]->write(logits);
    }
    const std::vector<Choice> choices = {
        {.sampler = &penalized, .n_writable = kVocabulary, .visible = visible},
        {.sampler = &bound, .n_writable = kVocabulary, .allowed = allowed},
        {.token = 17},
        {.sampler = &greedy, .n_writable = kVocabulary}};
    const auto want = here.sample(choices);
    penalized.set_random_state(1);
    bound.set_random_state(2);
    const auto got = there.sample(choices);
    for (std::size_t i = 0; i < choices.size(); ++i) {
      EXPECT_EQ(got[i].token, want[i].token) << i;
      EXPECT_EQ(got[i].logit, want[i].logit) << i;
    }
    EXPECT_GE(got[1].token, 128);
    EXPECT_LT(got[1].token, 136);
    std::vector<Choice> again = choices;
    again[3] = {.token = got[3].token};
    EXPECT_EQ(there.sample(again)[3].log_sum, got[3].log_sum);
  }
}

TEST(OpenClSampling, RefusesLogitsWithoutANumber) {
  RUNNEL_NEED_OPENCL();
  Sampling there(make_opencl_device(0), 600);
  there.rows[0]->write(std::vector<float>(600, std::numeric_limits<float>::quiet_NaN()));
  Sampler sampler({}, 600);
  const std::uint64_t before = sampler.random_state();
  EXPECT_EQ(test::error_of([&] { there.sample({{.sampler = &sampler, .n_writable = 600}}); }),
            "logits: want numbers, found none to choose a token by");
  EXPECT_EQ(sampler.random_state(), before);
}

}  // namespace
}  // namespace runnel
