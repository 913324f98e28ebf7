// The decoder against a plain forward in double, on small random models of every architecture and
// of its variants.
#include "support/reference_forward.h"

#include <gtest/gtest.h>

#include "support/made_models.h"
#include "support/parameters.h"

namespace runnel {
namespace {

struct Variant {
  std::string name;
  ModelShape shape;
  double tolerance = 1e-5;  // norm of the difference over the norm
};
void PrintTo(const Variant& v, std::ostream* out) { *out << v.name; }

ModelShape tiny(std::string_view architecture) { return find_shape("tiny", architecture); }

template <typename Change>
Variant changed(const char* name, std::string_view architecture, Change change) {
  Variant variant = {name, tiny(architecture)};
  change(variant.shape);
  if (variant.shape.n_layers > 40) variant.tolerance = 1e-4;
  return variant;
}

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const ModelShape& shape : test::tiny_shapes())
    all.push_back({std::string(shape.architecture), shape});
  all.push_back(changed("llama with biases", "llama", [](auto& s) { s.has_biases = true; }));
  all.push_back(changed("llama with scaled positions", "llama", [](auto& s) {
    s.scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 4};
  }));
  all.push_back(changed("llama with YaRN", "llama", [](auto& s) {
    s.scaling = {.kind = RopeScaling::Kind::kYarn, .factor = 4, .original_context = 128};
  }));
  all.push_back(changed("llama that is local", "llama", [](auto& s) { s.local_window = 12; }));
  all.push_back(changed("qwen2 that is local", "qwen2", [](auto& s) { s.local_window = 12; }));
  all.push_back(changed("llama with experts", "llama", [](auto& s) {
    s.n_experts = 4;
    s.n_experts_used = 2;
  }));
  all.push_back(changed("falcon with two norms", "falcon", [](auto& s) {
    s.n_kv_heads = 2;
    s.has_second_norm = true;
  }));
  all.push_back(changed("gptneox in series", "gptneox", [](auto& s) { s.is_parallel = false; }));
  all.push_back(changed("mpt of six heads without clamp", "mpt", [](auto& s) {
    s.dim = 96;
    s.n_heads = s.n_kv_heads = 6;
    s.qkv_clamp = 0;
    s.is_tied = false;
  }));
  all.push_back(changed("gemma2 of 27B layers", "gemma2", [](auto& s) {
    s.n_layers = 46;
    s.dim = 32;
    s.ffn_dim = 32;
  }));
  all.push_back(changed("gemma3 of 27B layers", "gemma3", [](auto& s) {
    s.n_layers = 62;
    s.dim = 32;
    s.ffn_dim = 32;
  }));
  all.push_back(changed("gemma3 with scaled positions", "gemma3", [](auto& s) {
    s.scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 8};
  }));
  all.push_back(changed("gemma4 with experts", "gemma4", test::make_gemma4_experts));
  all.push_back(changed("phi3 that is local", "phi3", [](auto& s) {
    s.has_long_rope = false;
    s.scaling = {};
    s.local_window = 12;
  }));
  return all;
}

class ReferenceForward : public testing::TestWithParam<Variant> {};

void expect_equal_to_reference(const Variant& variant, const CachePolicy& policy, Softmax softmax) {
  const MadeModel model = test::make(variant.shape);
  const gguf::File file = test::parse(model);
  const std::vector<Token> tokens = test::some_tokens(48, variant.shape.vocabulary_size);
  const std::vector<float> want = test::reference_logits(file, tokens, policy, softmax);
  test::LoadedDecoder decoder(test::parse(model));
  for (const int chunk : {1, 7, 48}) {
    KvCache cache = decoder.cache(policy, KvType::kF32, chunk);
    const std::vector<float> got = decoder.all_logits(cache, tokens, chunk, softmax);
    ASSERT_EQ(got.size(), want.size());
    EXPECT_LT(test::relative_error(got, want), variant.tolerance)
        << "sinks " << policy.sinks << " window " << policy.window << " chunk " << chunk;
  }
}

TEST_P(ReferenceForward, AgreesWhenEverythingIsSeen) {
  expect_equal_to_reference(GetParam(), {.sinks = 0, .window = kUnbounded}, Softmax::kStandard);
}

// Local layers of the tiny models see 8 tokens: less than the first window, more than the second.
TEST_P(ReferenceForward, AgreesPastTheWindowWithSinks) {
  expect_equal_to_reference(GetParam(), {.sinks = 4, .window = 20}, Softmax::kStandard);
  expect_equal_to_reference(GetParam(), {.sinks = 4, .window = 5}, Softmax::kStandard);
}

TEST_P(ReferenceForward, AgreesPastTheWindowWithoutSinks) {
  expect_equal_to_reference(GetParam(), {.sinks = 0, .window = 12}, Softmax::kStandard);
}

TEST_P(ReferenceForward, AgreesWithTheOffByOneSoftmax) {
  expect_equal_to_reference(GetParam(), {.sinks = 2, .window = 12}, Softmax::kOffByOne);
}

INSTANTIATE_TEST_SUITE_P(Every, ReferenceForward, testing::ValuesIn(variants()),
                         test::ByParameter());

// Stored weights, as they lie in the file and packed for products of integers. A row, an expert or
// a part of a fused matrix taken from the wrong place would be off by about 1.
struct StoredWeights {
  const char* architecture;
  const char* type;
  double packed_tolerance = 0.03;  // inputs are rounded to 8 bits
};
void PrintTo(const StoredWeights& s, std::ostream* out) { *out << s.architecture << " " << s.type; }

class StoredForward : public testing::TestWithParam<StoredWeights> {};

void expect_stored_to_agree(const StoredWeights& stored, bool is_packed, double tolerance) {
  ModelShape shape = tiny(stored.architecture);
  shape.dim = shape.ffn_dim = 256;  // whole blocks of every type
  shape.vocabulary_size = 531;      // no multiple of anything
  const MadeModel model = test::make(shape, stored.type);
  const std::vector<Token> tokens = test::some_tokens(24, shape.vocabulary_size);
  const CachePolicy policy = {.sinks = 4, .window = 12};
  const std::vector<float> want = test::reference_logits(test::parse(model), tokens, policy);
  test::LoadedDecoder decoder(test::parse(model));
  if (is_packed) decoder.pack();
  for (const int chunk : {1, 7, 24}) {
    KvCache cache = decoder.cache(policy, KvType::kF32, chunk);
    const std::vector<float> got = decoder.all_logits(cache, tokens, chunk);
    EXPECT_LT(test::relative_error(got, want), tolerance) << "chunk " << chunk;
  }
}

TEST_P(StoredForward, AgreesWithFloatProducts) { expect_stored_to_agree(GetParam(), false, 1e-5); }

TEST_P(StoredForward, AgreesWithPackedProducts) {
  expect_stored_to_agree(GetParam(), true, GetParam().packed_tolerance);
}

INSTANTIATE_TEST_SUITE_P(
    Every, StoredForward,
    testing::Values(StoredWeights{"llama", "q4_0"}, StoredWeights{"llama", "q8_0"},
                    StoredWeights{"llama", "q4_k_m"}, StoredWeights{"llama", "q5_k_m"},
                    StoredWeights{"llama", "q2_k"}, StoredWeights{"llama", "q3_k"},
                    StoredWeights{"llama", "q4_1"}, StoredWeights{"llama", "q5_0"},
                    StoredWeights{"llama", "q5_1"}, StoredWeights{"llama", "f16"},
                    StoredWeights{"llama", "bf16"}, StoredWeights{"mpt", "q4_0"},
                    StoredWeights{"falcon", "q4_k_m"}, StoredWeights{"gptneox", "q8_0"},
                    StoredWeights{"qwen2", "q4_0"}, StoredWeights{"qwen3moe", "q4_k_m"},
                    StoredWeights{"gemma2", "q8_0"}, StoredWeights{"gemma3", "q6_k"},
                    StoredWeights{"llama", "mxfp4"},
                    // where two experts are nearly level, rounding may choose the other one
                    StoredWeights{"gpt-oss", "mxfp4", 0.15}),
    test::ByParameter());

// The tests above must be able to fail: a reference without sinks is far from a model with them.
TEST(ReferenceForwardItself, TellsPoliciesApart) {
  const MadeModel model = test::make(tiny("llama"));
  const gguf::File file = test::parse(model);
  const std::vector<Token> tokens = test::some_tokens(40, 512);
  EXPECT_GT(test::relative_error(test::reference_logits(file, tokens, {4, 20}),
                                 test::reference_logits(file, tokens, {0, 24})),
            1e-2);
}

}  // namespace
}  // namespace runnel
