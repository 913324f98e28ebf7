// The reference texts of a vocabulary and their tokens: NAME.inp holds texts between lines
// "__ggml_vocab_test__", NAME.out a line of token ids for each.
#pragma once

#include <string>
#include <vector>

#include "runnel/options.h"

namespace runnel::test {

struct GoldenText {
  std::string text;
  std::vector<Token> tokens;  // without BOS
};

// `name` as in "ggml-vocab-falcon.gguf", in the reference data's folder golden/tokenizers.
std::vector<GoldenText> golden_texts(const std::string& name);

std::string read_file(const std::string& path);

}  // namespace runnel::test
