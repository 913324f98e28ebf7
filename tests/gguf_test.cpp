#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "gguf/file.h"
#include "kernels/dequantize.h"
#include "support/paths.h"

namespace runnel::gguf {
namespace {

TEST(GgufFile, OpensTheBundledModelAndReadsItsWeights) {
  const File file = File::open(test::bundled_model());
  EXPECT_EQ(file.version(), 3);
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_array("tokenizer.ggml.tokens").strings()->size(),
            file.get_array("tokenizer.ggml.scores").floats()->size());
  const Tensor* embedding = file.find_tensor("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  std::vector<float> row(static_cast<std::size_t>(embedding->shape[0]));
  kernels::dequantize_row(embedding->type, embedding->data.data(), row.data(), embedding->shape[0]);
  for (const float w : row) EXPECT_LT(std::abs(w), 10.0f);
}

}  // namespace
}  // namespace runnel::gguf
