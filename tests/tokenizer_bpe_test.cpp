// Byte-level BPE against the reference tokens and against plain quadratic merging, and the
// pre-tokenizers by the words they make.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "support/error_text.h"
#include "support/golden_tokens.h"
#include "support/parameters.h"
#include "support/paths.h"
#include "support/random_text.h"
#include "support/small_vocabulary.h"
#include "tokenizer/composition.h"
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
                                         "ggml-vocab-mpt.gguf"),
                         test::ByParameter());

Words words_of(const char* pre, const std::string& text) {
  Words words;
  for (const std::string_view word : PreTokenizer(pre).split(text)) words.emplace_back(word);
  return words;
}

// The vowel signs of a Hindi greeting are marks, not letters.
TEST(PreTokenizer, KeepsMarksWithTheirLettersInQwen35) {
  const std::string greeting = "\u0928\u092e\u0938\u094d\u0924\u0947";
  EXPECT_EQ(words_of("qwen35", greeting), Words{greeting});
  EXPECT_GT(words_of("qwen2", greeting).size(), 1u);
}

TEST(PreTokenizer, CutsAsEachFamilyDoes) {
  const std::string text = "I'LL pay 12345  EURos!\n\n ok";
  EXPECT_EQ(words_of("gpt-2", text),
            (Words{"I", "'", "LL", " pay", " 12345", " ", " EURos", "!", "\n\n", " ok"}));
  EXPECT_EQ(words_of("llama-bpe", text),
            (Words{"I", "'LL", " pay", " ", "123", "45", " ", " EURos", "!\n\n", " ok"}));
  EXPECT_EQ(words_of("qwen2", text), (Words{"I", "'LL", " pay", " ", "1", "2", "3", "4", "5", " ",
                                            " EURos", "!\n\n", " ok"}));
  EXPECT_EQ(words_of("starcoder", text), (Words{"I", "'", "LL", " pay", " ", "1", "2", "3", "4",
                                                "5", " ", " EURos", "!", "\n\n", " ok"}));
  EXPECT_EQ(words_of("seed-coder", text), (Words{"I", "'LL", " pay", " ", "1", "2", "3", "4", "5",
                                                 " ", " EURos", "!", "\n\n", " ok"}));
  EXPECT_EQ(words_of("qwen35", text), words_of("qwen2", text));
  EXPECT_EQ(words_of("exaone4", text), words_of("gpt-2", text));
  EXPECT_EQ(words_of("lfm2", text), words_of("llama-bpe", text));
  EXPECT_EQ(words_of("hunyuan-dense", text), words_of("deepseek-v3", text));
  EXPECT_EQ(words_of("falcon", text),
            (Words{"I", "'", "LL", " pay", " ", "123", "45", " ", " EURos", "!", "\n\n", " ok"}));
  EXPECT_EQ(words_of("gpt-4o", text),
            (Words{"I'LL", " pay", " ", "123", "45", " ", " EURos", "!\n\n", " ok"}));
}

TEST(PreTokenizer, AMongolianVowelSeparatorIsNoWhiteSpace) {
  EXPECT_EQ(words_of("gpt-2", "a \u180E"), (Words{"a", " \u180E"}));
}

class EveryPreTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(EveryPreTokenizer, KeepsEveryByteAndComesBackFromTokens) {
  auto vocabulary = test::byte_level_vocabulary({"Ġ t", "h e", "Ġt he", "Ġ Ġ", "1 2", "Ċ Ċ"});
  vocabulary.add("<|im_end|>", TokenKind::kControl);
  const auto tokenizer = test::tokenizer_from(test::byte_level_header(vocabulary, GetParam()));
  const bool composes = PreTokenizer(*GetParam() == '\0' ? "default" : GetParam()).composes();
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const int length = static_cast<int>(random() % 60);
    for (const std::string& text :
         {test::random_utf8(random, length), test::random_bytes(random, length)}) {
      const std::vector<Token> tokens = tokenizer->encode(text, {.parse_special = true});
      EXPECT_EQ(tokenizer->decode(tokens), composes ? composed(text) : text);
    }
  }
  const std::string spaces = std::string(1 << 18, ' ') + "x";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(spaces, {})), spaces);
}

INSTANTIATE_TEST_SUITE_P(Names, EveryPreTokenizer,
                         testing::Values("", "default", "gpt-2", "gpt-neox", "mpt", "olmo", "phi-2",
                                         "falcon", "starcoder", "refact", "smollm", "llama-bpe",
                                         "qwen2", "deepseek-llm", "deepseek-coder", "deepseek-v3",
                                         "gpt-4o", "tekken"),
                         test::ByParameter());

TEST(ByteLevel, AnUnknownPreTokenizerIsAnErrorThatListsTheKnown) {
  const auto vocabulary = test::byte_level_vocabulary({});
  try {
    test::tokenizer_from(test::byte_level_header(vocabulary, "klingon"));
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("found klingon"), std::string::npos) << message;
    EXPECT_NE(message.find("falcon, starcoder"), std::string::npos) << message;
  }
}

TEST(ByteLevel, AMergeWithoutTwoPiecesIsAnErrorThatNamesItsLine) {
  auto vocabulary = test::byte_level_vocabulary({"a b"});
  vocabulary.merges.push_back("ab");
  try {
    test::tokenizer_from(test::byte_level_header(vocabulary, "gpt-2"));
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("line 1 has \"ab\""), std::string::npos)
        << error.what();
  }
}

// Applies the first rule of the list that fits anywhere, leftmost, over and over.
std::vector<std::string> merge_plainly(std::vector<std::string> pieces,
                                       const std::vector<std::string>& merges) {
  const auto apply = [&pieces](const std::string& merge) {
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
      if (pieces[i] + " " + pieces[i + 1] != merge) continue;
      pieces[i] += pieces[i + 1];
      pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      return true;
    }
    return false;
  };
  while (std::any_of(merges.begin(), merges.end(), apply)) {
  }
  return pieces;
}

TEST(ByteLevel, MergesLikeThePlainQuadraticLoop) {
  std::mt19937 random(4);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::string> pieces = {"a", "b", "c"};
    std::vector<std::string> merges;
    while (merges.size() < 20) {
      const std::string left = pieces[random() % pieces.size()];
      const std::string right = pieces[random() % pieces.size()];
      if (std::count(pieces.begin(), pieces.end(), left + right) > 0) continue;
      merges.push_back(left + " " + right);
      pieces.push_back(left + right);
    }
    const auto tokenizer =
        test::tokenizer_from(test::byte_level_header(test::byte_level_vocabulary(merges), "gpt-2"));
    for (int text_round = 0; text_round < 20; ++text_round) {
      const std::string text = test::random_letters(random, {"a", "b", "c"}, 40);
      std::vector<std::string> letters, found;
      for (const char letter : text) letters.emplace_back(1, letter);
      for (const Token token : tokenizer->encode(text, {})) {
        found.emplace_back(tokenizer->piece(token));
      }
      EXPECT_EQ(found, merge_plainly(letters, merges)) << text;
    }
  }
}

TEST(ByteLevel, LlamaTakesAWholeWordThatIsATokenWithoutMerging) {
  auto vocabulary = test::byte_level_vocabulary({"a b"});
  const Token whole = vocabulary.add("abc", TokenKind::kNormal);
  const auto llama = test::tokenizer_from(test::byte_level_header(vocabulary, "llama-bpe"));
  EXPECT_EQ(llama->encode("abc", {.add_bos = false}), std::vector<Token>{whole});
  const auto gpt2 = test::tokenizer_from(test::byte_level_header(vocabulary, "gpt-2"));
  EXPECT_EQ(gpt2->encode("abc", {}),
            (std::vector<Token>{256, 'c' - '!' + gpt2->find("!").value()}));
}

gguf::Header header_without(std::initializer_list<std::size_t> bytes) {
  auto vocabulary = test::byte_level_vocabulary({});
  for (const std::size_t byte : bytes) vocabulary.tokens[byte] = fmt::format("no {:02X}", byte);
  return test::byte_level_header(vocabulary, "mpt");
}

TEST(ByteLevel, AByteWithoutATokenBecomesTheReplacementCharacter) {
  const auto tokenizer = test::tokenizer_from(header_without({0xFF, 0xFE}));
  EXPECT_EQ(tokenizer->encode("a\xFF", {}), (std::vector<Token>{'a', 0xEF, 0xBF, 0xBD}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("\xFF\xFE b\xFF", {})), "\uFFFD\uFFFD b\uFFFD");
}

TEST(ByteLevel, AByteWithoutATokenIsTheUnknownOneWhereThereIsNoReplacementCharacter) {
  gguf::Header header = header_without({0xFF, 0xBD});
  header.add("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
  EXPECT_EQ(test::tokenizer_from(header)->encode("a\xFF", {}), (std::vector<Token>{'a', 0}));
}

TEST(ByteLevel, AByteThatNothingStandsForIsAnErrorThatNamesIt) {
  const auto tokenizer = test::tokenizer_from(header_without({0xFF, 0xBD}));
  EXPECT_EQ(tokenizer->encode("a\xFE", {}).size(), 2u);
  EXPECT_NE(test::error_of([&] { tokenizer->encode("a\xFF", {}); }).find("byte 0xFF"),
            std::string::npos);
}

// U+1EBF and what it is made of, in two orders of the marks, and Hangul as jamo.
TEST(ByteLevel, ComposesTextWhereTheModelsTokenizerDoes) {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"Ti\u1EBFng Vi\u1EC7t", "Tie\u0302\u0301ng Vie\u0323\u0302t"},
      {"Ti\u1EBFng", "Ti\u00EA\u0301ng"},
      {"\uD55C\uAE00", "\u1112\u1161\u11AB\u1100\u1173\u11AF"},
      {"caf\u00E9 <s> caf\u00E9", "cafe\u0301 <s> cafe\u0301"},
      {"\xFF\u00E9\xC3",
       "\xFF"
       "e\u0301\xC3"},
  };
  for (const char* const pre :
       {"qwen2", "gpt-neox", "mpt", "deepseek-r1-qwen", "gpt-2", "llama3"}) {
    const auto tokenizer = test::tokenizer_from(
        test::byte_level_header(test::byte_level_vocabulary({"e \u00CC"}), pre));
    const bool composes = std::string(pre) != "gpt-2" && std::string(pre) != "llama3";
    for (const auto& [composed, loose] : pairs) {
      const std::vector<Token> tokens = tokenizer->encode(loose, {});
      EXPECT_EQ(tokens == tokenizer->encode(composed, {}), composes) << pre << " " << composed;
      EXPECT_EQ(tokenizer->decode(tokens), composes ? composed : loose) << pre;
    }
  }
}

TEST(ByteLevel, FindsUserDefinedTokensInAnyTextTheLongestFirst) {
  auto vocabulary = test::byte_level_vocabulary({});
  const Token two = vocabulary.add("  ", TokenKind::kUserDefined);
  const Token four = vocabulary.add("    ", TokenKind::kUserDefined);
  const auto tokenizer = test::tokenizer_from(test::byte_level_header(vocabulary, "mpt"));
  EXPECT_EQ(tokenizer->encode("      ", {}), (std::vector<Token>{four, two}));
}

}  // namespace
}  // namespace runnel
