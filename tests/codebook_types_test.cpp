// Weights of the types with tables, to the last bit as the ggml project's own package makes them of
// random blocks (scripts/make-codebooks.py), and models of them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "kernels/pack/dequantize.h"
#include "support/made_models.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/reference_forward.h"

namespace runnel {
namespace {

class CodebookType : public testing::TestWithParam<const char*> {
 protected:
  static TensorType type() { return find_tensor_type(std::string_view(GetParam()))->type; }
};

TEST_P(CodebookType, HasTheWeightsOfThePublicPackage) {
  std::ifstream in(test::fixture("blocks/" + std::string(GetParam()) + ".bin"), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const TensorTypeTraits t = traits(type());
  const std::size_t of_block =
      t.block_bytes + sizeof(float) * static_cast<std::size_t>(t.block_elements);
  const std::size_t n_blocks = bytes.size() / of_block;
  ASSERT_GE(n_blocks, 4u);
  ASSERT_EQ(bytes.size(), n_blocks * of_block);
  std::vector<float> want(n_blocks * static_cast<std::size_t>(t.block_elements));
  std::memcpy(want.data(), bytes.data() + n_blocks * t.block_bytes, want.size() * sizeof(float));
  std::vector<float> got(want.size());
  kernels::dequantize_row(type(), reinterpret_cast<const std::byte*>(bytes.data()), got.data(),
                          std::ssize(got));
  EXPECT_EQ(got, want);
}

TEST_P(CodebookType, RunsAModel) {
  ModelShape shape = find_shape("tiny", "llama");
  shape.dim = shape.ffn_dim = 256;
  const MadeModel model = test::make(shape, GetParam());
  const gguf::File file = test::parse(model);
  ASSERT_EQ(file.find_tensor("blk.0.ffn_up.weight")->type, type());
  const std::vector<Token> tokens = test::some_tokens(12, shape.vocabulary_size);
  const CachePolicy policy = {.sinks = 2, .window = 6};
  const std::vector<float> want = test::reference_logits(file, tokens, policy);
  test::LoadedDecoder decoder(test::parse(model));
  for (const bool is_packed : {false, true}) {
    if (is_packed) decoder.pack();
    for (const int chunk : {1, 12}) {
      KvCache cache = decoder.cache(policy, KvType::kF32, chunk);
      EXPECT_LT(test::relative_error(decoder.all_logits(cache, tokens, chunk), want),
                is_packed ? 0.03 : 1e-5)
          << "chunk " << chunk << (is_packed ? " packed" : "");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, CodebookType,
                         testing::Values("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S",
                                         "IQ1_M", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "NVFP4"),
                         test::ByParameter());

}  // namespace
}  // namespace runnel
