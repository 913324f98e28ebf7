// SentencePiece-style BPE against the reference tokens and on the bundled model's vocabulary.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/golden_tokens.h"
#include "support/paths.h"
#include "tokenizer/tokenizer.h"

namespace runnel {
namespace {

std::unique_ptr<Tokenizer> bundled() {
  return Tokenizer::from(gguf::File::open(test::bundled_model()));
}

TEST(SentencePiece, ReproducesEveryReferenceLine) {
  const std::string name = "ggml-vocab-llama-spm.gguf";
  RUNNEL_NEED_SHARED("golden/tokenizers/" + name);
  const auto tokenizer =
      Tokenizer::from(gguf::File::open(test::shared("golden/tokenizers/" + name)));
  const auto golden = test::golden_texts(name);
  ASSERT_GT(golden.size(), 40u);
  for (const auto& [text, tokens] : golden) {
    EXPECT_EQ(tokenizer->encode(text, {.add_bos = false}), tokens) << text;
    EXPECT_EQ(tokenizer->decode(tokens), text);
  }
}

TEST(SentencePiece, PutsBosFirstWhereTheFileSaysSo) {
  const auto tokenizer = bundled();
  const std::vector<Token> tokens = tokenizer->encode("Hello", {});
  ASSERT_FALSE(tokens.empty());
  EXPECT_EQ(tokens[0], 1);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_TRUE(tokenizer->is_end_of_generation(2));
  EXPECT_FALSE(tokenizer->is_end_of_generation(1));
}

}  // namespace
}  // namespace runnel
