#include "model/made_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/error.h"

namespace runnel {
namespace {

// The word-boundary mark of SentencePiece, then letters from the most frequent in English.
constexpr std::string_view kLetters[] = {"\xe2\x96\x81",
                                         "e",
                                         "t",
                                         "a",
                                         "o",
                                         "i",
                                         "n",
                                         "s",
                                         "h",
                                         "r",
                                         "d",
                                         "l",
                                         "u",
                                         "c",
                                         "m",
                                         "w",
                                         "f",
                                         "g",
                                         "y",
                                         "p",
                                         "b",
                                         "v",
                                         "k",
                                         "x",
                                         "j",
                                         "q",
                                         "z"};
constexpr int kNLetters = static_cast<int>(std::size(kLetters));

// All words over the letters, shorter ones first, so that each is a known word and one more letter:
// merging letters reaches them all.
std::string made_word(int index) {
  std::string word;
  for (++index; index > 0; index = (index - 1) / kNLetters)
    word.insert(0, kLetters[(index - 1) % kNLetters]);
  return word;
}

// As numbered in files.
enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };

}  // namespace

void add_made_vocabulary(gguf::Header& header, int n_tokens) {
  if (n_tokens < kLeastVocabulary) {
    throw Error(
        fmt::format("vocabulary: want at least {} tokens, found {}", kLeastVocabulary, n_tokens));
  }
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> types = {kUnknown, kControl, kControl};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(fmt::format("<0x{:02X}>", byte));
  types.resize(kLeastVocabulary, kByte);
  std::vector<float> scores(kLeastVocabulary, 0.0f);
  for (int i = 0; i < n_tokens - kLeastVocabulary; ++i) {
    tokens.push_back(made_word(i));
    scores.push_back(static_cast<float>(-i));
  }
  types.resize(tokens.size(), kNormal);

  header.add("tokenizer.ggml.model", "llama");
  header.add("tokenizer.ggml.tokens", tokens);
  header.add("tokenizer.ggml.scores", scores);
  header.add("tokenizer.ggml.token_type", types);
  header.add("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  header.add("tokenizer.ggml.eos_token_id", std::uint32_t{2});
  header.add("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
  header.add("tokenizer.ggml.add_bos_token", true);
}

}  // namespace runnel
