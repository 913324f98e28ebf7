// Byte-level BPE against the reference tokens, and its pre-tokenizers by what they do to words.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/golden_tokens.h"
#include "support/paths.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace runnel {
namespace {

using Words = std::vector<std::string>;

class ByteLevelReference : public testing::TestWithParam<const char*> {};

TEST_P(ByteLevelReference, ReproducesEveryLine) {
  const std::string name = GetParam();
  RUNNEL_NEED_SHARED("golden/tokenizers/" + name);
  const auto tokenizer =
      Tokenizer::from(gguf::File::open(test::shared("golden/tokenizers/" + name)));
  const auto golden = test::golden_texts(name);
  ASSERT_GT(golden.size(), 40u);
  for (const auto& [text, tokens] : golden) {
    EXPECT_EQ(tokenizer->encode(text, {}), tokens) << text;
    EXPECT_EQ(tokenizer->decode(tokens), text);
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, ByteLevelReference,
                         testing::Values("ggml-vocab-falcon.gguf", "ggml-vocab-gpt-2.gguf",
                                         "ggml-vocab-mpt.gguf"));

}  // namespace
}  // namespace runnel
