// Tokens to text piece by piece, and arriving text to pieces for the tokenizer.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/utf8.h"
#include "support/paths.h"
#include "support/small_vocabulary.h"
#include "tokenizer/text_splitter.h"
#include "tokenizer/tokenizer.h"

namespace runnel {
namespace {

constexpr Token kFirstByte = 3;  // of sentencepiece_vocabulary()

std::unique_ptr<Tokenizer> small_tokenizer() {
  auto vocabulary = test::sentencepiece_vocabulary({"▁", "a", "▁a"});
  vocabulary.add("  ", TokenKind::kUserDefined);
  return test::tokenizer_from(test::sentencepiece_header(vocabulary));
}

Token byte(int value) { return kFirstByte + value; }

TEST(Detokenizer, HoldsBackTheBytesOfAnUnfinishedCharacter) {
  const auto tokenizer = small_tokenizer();
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.push(byte(0xF0)), "");
  EXPECT_EQ(detokenizer.push(byte(0x9F)), "");
  EXPECT_EQ(detokenizer.push(byte(0xA6)), "");
  EXPECT_EQ(detokenizer.state().pending, "\xF0\x9F\xA6");
  EXPECT_EQ(detokenizer.push(byte(0x99)), "🦙");
  EXPECT_EQ(detokenizer.flush(), "");
}

TEST(Detokenizer, PassesOnBytesThatCannotBecomeACharacter) {
  const auto tokenizer = small_tokenizer();
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.push(byte(0xC0)), "\xC0");
  EXPECT_EQ(detokenizer.push(byte(0xE4)), "");
  EXPECT_EQ(detokenizer.push(byte(0x41)), "\xE4\x41");
  EXPECT_EQ(detokenizer.push(byte(0xED)), "");
  EXPECT_EQ(detokenizer.push(byte(0xA0)), "\xED\xA0");  // would be half a surrogate pair
  EXPECT_EQ(detokenizer.push(byte(0xE4)), "");
  EXPECT_EQ(detokenizer.flush(), "\xE4");
}

TEST(Detokenizer, DropsTheLeadingSpaceAtTheStartOfATextOnly) {
  const auto tokenizer = small_tokenizer();
  const Token word = *tokenizer->find("▁a");
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.push(1), "");  // <s> does not begin the text
  EXPECT_EQ(detokenizer.push(word), "a");
  EXPECT_EQ(detokenizer.push(word), " a");
  Detokenizer continued(*tokenizer);
  continued.restore({.pending = "", .at_start = false});
  EXPECT_EQ(continued.push(word), " a");
}

TEST(Detokenizer, KeepsTheSpacesOfAUserDefinedTokenAtTheStart) {
  const auto tokenizer = small_tokenizer();
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("  a", {})), "  a");
}

TEST(Detokenizer, RefusesATokenOutsideTheVocabulary) {
  const auto tokenizer = small_tokenizer();
  Detokenizer detokenizer(*tokenizer);
  EXPECT_THROW(detokenizer.push(tokenizer->size()), Error);
  EXPECT_THROW(detokenizer.push(-1), Error);
}

TEST(Utf8, KnowsWhichTailsMayStillBecomeACharacter) {
  EXPECT_EQ(utf8_unfinished_tail("a"), 0);
  EXPECT_EQ(utf8_unfinished_tail("é"), 0);
  EXPECT_EQ(utf8_unfinished_tail("a\xC3"), 1);
  EXPECT_EQ(utf8_unfinished_tail("a\xE2\x82"), 2);
  EXPECT_EQ(utf8_unfinished_tail("\xF0\x9F\xA6"), 3);
  EXPECT_EQ(utf8_unfinished_tail("\xF4\x90"), 0);  // above U+10FFFF
  EXPECT_EQ(utf8_unfinished_tail("\xE0\x80"), 0);  // overlong
  EXPECT_EQ(utf8_unfinished_tail("\x80\x80\x80"), 0);
}

std::vector<std::string> split(const std::string& text, std::size_t step) {
  TextSplitter splitter;
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at < text.size(); at += step) {
    pieces.push_back(splitter.push(std::string_view(text).substr(at, step)));
  }
  pieces.push_back(splitter.finish());
  return pieces;
}

std::string joined(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

TEST(TextSplitter, GivesTheTokensOfTheWholeText) {
  const auto tokenizer = Tokenizer::from(gguf::File::open(test::bundled_model()));
  const std::string text =
      "It was a dark night;  the rain fell in torrents, é è\n\n\tand \"so\" on.   \n 1234 5 Ω x";
  const std::vector<Token> whole = tokenizer->encode(text, {});
  for (std::size_t step = 1; step < 12; ++step) {
    std::vector<Token> tokens;
    for (const std::string& piece : split(text, step)) {
      if (piece.empty()) continue;
      const bool first = tokens.empty();
      const auto more = tokenizer->encode(piece, {.add_bos = first, .space_prefix = first});
      tokens.insert(tokens.end(), more.begin(), more.end());
    }
    EXPECT_EQ(tokens, whole) << "step " << step;
  }
}

TEST(TextSplitter, NeverWaitsForMoreThanItsLimitNorCutsACharacter) {
  std::string han;
  while (han.size() < 5 * TextSplitter::kMostWaiting) han += "水";
  for (const std::size_t step : {1000u, 4099u, 300'000u}) {
    std::size_t seen = 0, given = 0;
    for (const std::string& piece : split(han, step)) {
      seen = std::min(han.size(), seen + step);
      given += piece.size();
      EXPECT_LE(seen - given, TextSplitter::kMostWaiting);
      EXPECT_EQ(piece.size() % 3, 0u);
    }
    EXPECT_EQ(joined(split(han, step)), han);
  }
}

std::string repeated(const std::string& text, std::size_t n_bytes) {
  std::string all;
  while (all.size() < n_bytes) all += text;
  return all;
}

// Texts without a space behind a letter of ASCII: Chinese with empty lines, Japanese, minified
// JSON, base64 in lines, punctuation.
TEST(TextSplitter, GivesTheTokensOfTheWholeTextWhereThereIsNoSpace) {
  const std::size_t n = TextSplitter::kPatience + 1;
  const std::vector<std::string> texts = {
      repeated("\u3002", n - 2) + "\n\n" + repeated(repeated("\u3002", 600) + "\n\n", 1800),
      repeated("\u6C34\u706B\u3002\u6728\n\n\u91D1\u571F\uFF0C", 4 * n),
      repeated("\u3042\u3044\u3046\u3001\u65E5\u672C\u3002\n", 3 * n),
      repeated("{\"key\":[1,22,333],\"name\":\"value\"},", 3 * n),
      repeated("QUJDREVGR0g5Lys0MTIzNDU2Nzg5MGFiY2Q\n", 3 * n),
      repeated("----\n\n====\n", 2 * n),
  };
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  tokenizers.push_back(Tokenizer::from(gguf::File::open(test::bundled_model())));
  for (const char* const pre : {"gpt-2", "smollm", "llama3", "qwen2", "gpt-4o", "deepseek-v3"}) {
    tokenizers.push_back(test::tokenizer_from(
        test::byte_level_header(test::byte_level_vocabulary({"\u010A \u010A", "\u00E3 \u0122",
                                                             "\u00E3\u0122 \u0124", "1 2"}),
                                pre)));
  }
  for (std::size_t t = 0; t < tokenizers.size(); ++t) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Tokenizer& tokenizer = *tokenizers[t];
      TextSplitter splitter;
      splitter.cut_for(tokenizer);
      std::vector<Token> tokens;
      std::size_t n_pieces = 0;
      const auto add = [&](const std::string& piece) {
        if (piece.empty()) return;
        const bool first = n_pieces++ == 0;
        const auto more = tokenizer.encode(piece, {.add_bos = first, .space_prefix = first});
        tokens.insert(tokens.end(), more.begin(), more.end());
      };
      for (std::size_t at = 0; at < texts[i].size(); at += 16384)
        add(splitter.push(std::string_view(texts[i]).substr(at, 16384)));
      add(splitter.finish());
      EXPECT_EQ(tokens, tokenizer.encode(texts[i], {})) << "tokenizer " << t << ", text " << i;
      EXPECT_GT(n_pieces, 1U) << "tokenizer " << t << ", text " << i;
    }
  }
}

TEST(TextSplitter, PrefersALineEndWhereThereIsNoSpace) {
  const std::string line = std::string(40'000, 'x') + "\n";
  const auto pieces = split(line + line, 80'000);
  EXPECT_EQ(pieces[0], line);
}

}  // namespace
}  // namespace runnel
