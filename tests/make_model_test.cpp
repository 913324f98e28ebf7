// Made models: as many weights and bytes as the real ones, and files that open, tokenize and run.
#include "model/make_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/internals.h"
#include "kernels/pack/dequantize.h"
#include "model/random_weights.h"
#include "model/tensor_plan.h"
#include "support/error_text.h"
#include "support/golden_tokens.h"
#include "support/made_models.h"
#include "support/sample_gguf.h"
#include "support/temp_dir.h"
#include "tokenizer/tokenizer.h"

namespace runnel {
namespace {

std::int64_t count_weights(const ModelPlan& plan) {
  std::int64_t n = 0;
  for (const PlannedTensor& tensor : plan.tensors) n += tensor.n_elements();
  return n;
}

TensorType type_in(const ModelPlan& plan, std::string_view name) {
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.name == name) return tensor.type;
  }
  throw std::runtime_error("no such tensor: " + std::string(name));
}

ModelPlan plan(std::string_view shape, std::string_view type) {
  return plan_model(find_shape(shape, ""), StorageType::parse(type));
}

struct Published {
  const char* shape;
  std::int64_t n_weights;
};
void PrintTo(const Published& p, std::ostream* out) { *out << p.shape; }

class ShapeOf : public testing::TestWithParam<Published> {};

TEST_P(ShapeOf, HasAsManyWeightsAsTheRealModel) {
  EXPECT_EQ(count_weights(plan(GetParam().shape, "q4_0")), GetParam().n_weights);
}

// Falcon with an output matrix of its own, as its files have it.
INSTANTIATE_TEST_SUITE_P(
    Published, ShapeOf,
    testing::Values(Published{"llama-2-7b", 6738415616}, Published{"llama-3-8b", 8030261248},
                    Published{"tinyllama-1.1b", 1100048384}, Published{"mistral-7b", 7241732096},
                    Published{"mixtral-8x7b", 46702792704}, Published{"mpt-7b", 6649286656},
                    Published{"falcon-7b", 6921720704 + 65024 * 4544},
                    Published{"pythia-6.9b", 6857302016}, Published{"qwen2.5-0.5b", 494032768},
                    Published{"qwen3-0.6b", 596049920}, Published{"smollm3-3b", 3075098624},
                    Published{"gemma-2-2b", 2614341888}, Published{"gemma-3-1b", 999885952},
                    Published{"gpt-oss-20b", 20914757184}),
    test::ByParameter());

TEST(StorageType, MixesGiveMoreBitsToSensitiveMatrices) {
  const ModelPlan mix = plan("llama-2-7b", "Q4_K_M");
  EXPECT_EQ(type_in(mix, "blk.0.attn_q.weight"), TensorType::kQ4_K);
  EXPECT_EQ(type_in(mix, "blk.0.attn_v.weight"), TensorType::kQ6_K);
  EXPECT_EQ(type_in(mix, "blk.4.attn_v.weight"), TensorType::kQ4_K);
  EXPECT_EQ(type_in(mix, "blk.31.ffn_down.weight"), TensorType::kQ6_K);
  EXPECT_EQ(type_in(mix, "token_embd.weight"), TensorType::kQ4_K);
  EXPECT_EQ(type_in(mix, "output.weight"), TensorType::kQ6_K);
  EXPECT_EQ(type_in(mix, "blk.0.attn_norm.weight"), TensorType::kF32);
  const gguf::Header::TensorPlace& last = mix.header.tensors().back();
  EXPECT_NEAR(static_cast<double>(last.offset + last.n_bytes), 4.08e9, 0.01e9);
}

TEST(StorageType, RowsThatAreNoWholeBlocksTakeSmallerBlocks) {
  const ModelPlan falcon = plan("falcon-7b", "q4_k");  // dim 4544 is no multiple of 256
  EXPECT_EQ(type_in(falcon, "blk.0.ffn_up.weight"), TensorType::kQ5_0);
  EXPECT_EQ(type_in(falcon, "blk.0.ffn_down.weight"), TensorType::kQ4_K);
  EXPECT_EQ(type_in(falcon, "output.weight"), TensorType::kQ8_0);
}

TEST(StorageType, Mxfp4IsForExperts) {
  const ModelPlan gpt_oss = plan("gpt-oss-20b", "mxfp4");
  EXPECT_EQ(type_in(gpt_oss, "blk.0.ffn_up_exps.weight"), TensorType::kMXFP4);
  EXPECT_EQ(type_in(gpt_oss, "blk.0.attn_q.weight"), TensorType::kQ8_0);
  EXPECT_EQ(type_in(gpt_oss, "blk.0.ffn_gate_inp.weight"), TensorType::kF32);
}

TEST(MakeModel, NamesWhatIsThereWhenAskedForWhatIsNot) {
  EXPECT_EQ(test::error_of([] { StorageType::parse("q4_x"); }),
            "type 'q4_x': want one of f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, "
            "q4_k, q4_k_m, q5_k, q5_k_m, q6_k, mxfp4, nvfp4, iq1_s, iq1_m, iq2_xxs, "
            "iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl, iq4_xs, tq1_0, tq2_0");
  EXPECT_NE(test::error_of([] { find_shape("gpt-5", ""); }).find("want one of tiny, llama-2-7b"),
            std::string::npos);
  EXPECT_EQ(test::error_of([] { find_shape("mpt-7b", "llama"); }),
            "shape mpt-7b: want architecture mpt, found 'llama'");
  EXPECT_NE(test::error_of([] { find_shape("tiny", ""); }).find("want an architecture"),
            std::string::npos);
}

TEST(MakeModel, GivesTheSameFileForTheSameSeed) {
  const ModelShape& shape = find_shape("tiny", "gpt-oss");
  const StorageType type = StorageType::parse("mxfp4");
  const test::TempDir folder;
  make_model(shape, type, 3, folder / "made.gguf");
  const std::string written = test::read_file((folder / "made.gguf").string());
  const MadeModel same = make_model(shape, type, 3);
  const MadeModel other = make_model(shape, type, 4);
  ASSERT_EQ(written.size(), same.n_bytes);
  ASSERT_EQ(written.size(), other.n_bytes);
  // The gaps between tensors are not data.
  const gguf::File file = gguf::File::open(folder / "made.gguf");
  const gguf::File parsed = test::parse(same);
  const gguf::File different = test::parse(other);
  for (const gguf::Tensor& tensor : file.tensors()) {
    const auto equals = [&](const gguf::File& f) {
      const std::span<const std::byte> data = f.find_tensor(tensor.name)->data;
      return std::equal(tensor.data.begin(), tensor.data.end(), data.begin(), data.end());
    };
    EXPECT_TRUE(equals(parsed)) << tensor.name;
    EXPECT_FALSE(equals(different)) << tensor.name;
  }
}

class RandomWeights : public testing::TestWithParam<TensorType> {};

TEST_P(RandomWeights, HaveTheirMeanAndDeviation) {
  constexpr std::int64_t kN = 1 << 16;
  constexpr float kDeviation = 0.02f;
  WeightRandom random(1);
  std::vector<std::byte> bytes(bytes_of(GetParam(), kN));
  random_weights(GetParam(), kDeviation, random, bytes.data(), kN);
  std::vector<float> weights(kN);
  kernels::dequantize_row(GetParam(), bytes.data(), weights.data(), kN);
  const double mean = std::accumulate(weights.begin(), weights.end(), 0.0) / kN;
  const double square = std::inner_product(weights.begin(), weights.end(), weights.begin(), 0.0);
  const double deviation = std::sqrt(square / kN - mean * mean);
  EXPECT_NEAR(mean, 0, 0.03 * kDeviation);
  // MXFP4's scales are powers of two.
  EXPECT_NEAR(deviation, kDeviation, (GetParam() == TensorType::kMXFP4 ? 0.4 : 0.05) * kDeviation);
}

INSTANTIATE_TEST_SUITE_P(Every, RandomWeights, testing::ValuesIn(test::all_tensor_types()),
                         test::ByParameter());

struct Stored {
  ModelShape shape;
  std::string type;
};
void PrintTo(const Stored& s, std::ostream* out) { *out << s.shape.architecture << " " << s.type; }

std::vector<Stored> stored_models() {
  std::vector<Stored> all;
  for (const ModelShape& shape : test::tiny_shapes()) {
    for (const char* type : {"q8_0", "q4_k_m"}) all.push_back({shape, type});
  }
  ModelShape wide = find_shape("tiny", "llama");  // whole blocks of 256
  wide.dim = wide.ffn_dim = 256;
  wide.head_dim = 64;
  for (const char* type : {"f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k",
                           "q4_k", "q5_k", "q5_k_m", "q6_k", "mxfp4"}) {
    all.push_back({wide, type});
  }
  return all;
}

class MadeModelOf : public testing::TestWithParam<Stored> {};

TEST_P(MadeModelOf, OpensTokenizesAndRuns) {
  const MadeModel model = test::make(GetParam().shape, GetParam().type);
  const gguf::File file = test::parse(model);
  const std::string text = "Once upon a time, 3 \xc3\xa9t\xc3\xa9s";
  const auto tokenizer = Tokenizer::from(file);
  const std::vector<Token> tokens = tokenizer->encode(text, {});
  EXPECT_LT(tokens.size(), text.size());  // words are more than their bytes
  test::LoadedDecoder decoder(test::parse(model));
  KvCache cache = decoder.cache({.sinks = 2, .window = 6}, KvType::kF16, 4);
  for (const float logit : decoder.all_logits(cache, tokens, 4)) ASSERT_TRUE(std::isfinite(logit));
}

INSTANTIATE_TEST_SUITE_P(Every, MadeModelOf, testing::ValuesIn(stored_models()),
                         test::ByParameter());

// Only the embeddings are read as they are stored afterwards.
TEST(MadeModel, GivesItsBytesBackAsTheyArePacked) {
  ModelShape shape = find_shape("tiny", "llama");
  shape.dim = shape.ffn_dim = 256;
  shape.head_dim = 64;
  const auto tokens_of = [](const Model& model) {
    Stream stream = model.open({.sampling = {.temperature = 0}});
    stream.feed("Once upon a time");
    std::vector<Token> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(stream.next().token);
    return tokens;
  };
  const MadeModel kept = test::make(shape, "q8_0");
  const Model model = Model::Internals::take(test::make(shape, "q8_0"), "taken", {});
  EXPECT_EQ(tokens_of(model), tokens_of(Model::load(kept.bytes(), "kept")));
  const auto is_zero = [&](const char* name) {
    const std::span<const std::byte> data = model.internals().file.find_tensor(name)->data;
    return std::ranges::all_of(data.subspan(data.size() / 4, data.size() / 2),
                               [](std::byte b) { return b == std::byte{0}; });
  };
  EXPECT_TRUE(is_zero("blk.0.ffn_up.weight"));
  EXPECT_FALSE(is_zero("token_embd.weight"));
}

// ---- files that do not fit their architecture
// -----------------------------------------------------------------------

// The bytes of a tiny Llama, with `from` replaced by `to` (as long) once.
std::string altered(std::string_view from, std::string_view to) {
  const MadeModel model = test::make(find_shape("tiny", "llama"));
  std::string bytes(reinterpret_cast<const char*>(model.data.get()), model.n_bytes);
  const std::size_t at = bytes.find(from);
  if (at == std::string::npos || from.size() != to.size()) throw std::runtime_error("cannot alter");
  return bytes.replace(at, from.size(), to);
}

std::string error_of_loading(const std::string& bytes) {
  return test::error_of([&] {
    const gguf::File file = gguf::File::parse(test::bytes_of_text(bytes), "x.gguf");
    load_weights(file, read_config(file));
  });
}

TEST(ArchitectureErrors, AnUnsupportedOneIsNamedWithTheSupportedOnes) {
  gguf::Header header;
  header.add("general.architecture", "rwkv6");
  EXPECT_EQ(
      error_of_loading(header.encode()),
      "x.gguf: architecture 'rwkv6' is not supported; supported: llama, mpt, falcon, gptneox, "
      "qwen2, qwen3, qwen3moe, gemma, gemma2, gemma3, gemma4, gpt-oss, mistral3, smollm3, granite, "
      "granitemoe, minicpm, phi3, olmo2, exaone4, seed_oss, hunyuan-dense, ernie4_5, glm4, "
      "starcoder2, internlm2, qwen3next, qwen35, qwen35moe, lfm2, lfm2moe");
}

TEST(ArchitectureErrors, ATensorOfTheWrongShapeIsNamedWithBothShapes) {
  using namespace std::string_literals;
  const std::string key = "llama.feed_forward_length\x04\0\0\0"s;
  EXPECT_EQ(error_of_loading(altered(key + "\xa0"s, key + "\xc0"s)),  // 160 becomes 192
            "x.gguf: tensor blk.0.ffn_gate.weight: want [64, 192], file has [64, 160]");
}

TEST(ArchitectureErrors, MoreHeadsThanNumbersCountAreRefused) {
  using namespace std::string_literals;
  const std::string key = "llama.attention.head_count\x04\0\0\0"s;
  EXPECT_EQ(error_of_loading(altered(key + "\x04\0\0\0"s, key + "\x04\0\0\x10"s)),
            "x.gguf: metadata attention.head_count: want at most 16777216 of 1 dimensions, found "
            "268435460");
}

TEST(ArchitectureErrors, AMissingTensorIsNamed) {
  EXPECT_EQ(error_of_loading(altered("blk.1.attn_v.weight", "blk.1.attn_w.weight")),
            "x.gguf: tensor blk.1.attn_v.weight: want [64, 32], file has none");
}

TEST(ArchitectureErrors, ATensorThatTheArchitectureDoesNotUseIsNamed) {
  using namespace std::string_literals;
  const std::string length = "\x0d\0\0\0\0\0\0\0"s;  // before the name
  EXPECT_EQ(error_of_loading(altered(length + "output.weight", length + "outpux.weight")),
            "x.gguf: tensor outpux.weight: not used by architecture 'llama' as supported here");
}

}  // namespace
}  // namespace runnel
