// SentencePiece-style BPE against the reference tokens, against plain quadratic merging, and rule
// by rule on small vocabularies.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "support/error_text.h"
#include "support/golden_tokens.h"
#include "support/paths.h"
#include "support/random_text.h"
#include "support/small_vocabulary.h"
#include "tokenizer/tokenizer.h"

namespace runnel {
namespace {

std::unique_ptr<Tokenizer> bundled_tokenizer() {
  return Tokenizer::from(gguf::File::open(test::bundled_model()));
}

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  std::vector<std::string> pieces;
  for (const Token token : tokens) pieces.emplace_back(tokenizer.piece(token));
  return pieces;
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
  const auto tokenizer = bundled_tokenizer();
  const std::vector<Token> tokens = tokenizer->encode("Hello", {});
  ASSERT_FALSE(tokens.empty());
  EXPECT_EQ(tokens[0], 1);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_TRUE(tokenizer->is_end_of_generation(2));
  EXPECT_FALSE(tokenizer->is_end_of_generation(1));
}

TEST(SentencePiece, GivesBackAnyText) {
  const auto tokenizer = bundled_tokenizer();
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const std::string text = test::random_utf8(random, static_cast<int>(random() % 60));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, {})), text);
    const std::string bytes = test::random_bytes(random, static_cast<int>(random() % 60));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(bytes, {})), bytes);
  }
}

// Joins the best-scored pair, leftmost among equals, over and over.
std::vector<std::string> merge_plainly(std::vector<std::string> pieces,
                                       const std::map<std::string, float>& scores) {
  for (;;) {
    std::size_t best = pieces.size();
    float best_score = 0;
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
      const auto found = scores.find(pieces[i] + pieces[i + 1]);
      if (found == scores.end()) continue;
      if (best < pieces.size() && found->second <= best_score) continue;
      best = i;
      best_score = found->second;
    }
    if (best == pieces.size()) return pieces;
    pieces[best] += pieces[best + 1];
    pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(SentencePiece, MergesLikeThePlainQuadraticLoop) {
  std::mt19937 random(2);
  const std::vector<std::string> alphabet = {"a", "b", "c", " ", "é"};
  for (int round = 0; round < 40; ++round) {
    test::SmallVocabulary vocabulary = test::sentencepiece_vocabulary({"a", "b", "c", "▁", "é"});
    std::map<std::string, float> scores;
    for (int i = 0; i < 40; ++i) {  // some with a space inside, some with equal scores
      std::string piece;
      for (const char c :
           test::random_letters(random, alphabet, 2 + static_cast<int>(random() % 3))) {
        piece += c == ' ' ? "▁" : std::string(1, c);
      }
      const float score = -static_cast<float>(random() % 20);
      if (scores.emplace(piece, score).second) vocabulary.add(piece, TokenKind::kNormal, score);
    }
    const auto tokenizer = test::tokenizer_from(test::sentencepiece_header(vocabulary));
    for (int text_round = 0; text_round < 20; ++text_round) {
      const std::string text = test::random_letters(random, alphabet, 50);
      std::vector<std::string> characters = {"▁"};
      for (std::string_view rest = text; !rest.empty();) {
        const auto length = static_cast<std::size_t>(utf8_length(rest));
        characters.emplace_back(rest[0] == ' ' ? "▁" : rest.substr(0, length));
        rest.remove_prefix(length);
      }
      EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode(text, {.add_bos = false})),
                merge_plainly(characters, scores))
          << text;
    }
  }
}

std::unique_ptr<Tokenizer> listed_merges(const std::vector<std::string>& characters,
                                         const std::vector<std::string>& merges) {
  test::SmallVocabulary vocabulary = test::sentencepiece_vocabulary(characters);
  for (const std::string& merge : merges) {
    std::string piece = merge;
    vocabulary.add(piece.erase(piece.find(' ', 1), 1), TokenKind::kNormal, -1);
  }
  gguf::Header header;
  header.add("tokenizer.ggml.model", std::string("gemma4"));
  header.add("tokenizer.ggml.add_space_prefix", false);
  header.add("tokenizer.ggml.tokens", vocabulary.tokens);
  header.add("tokenizer.ggml.token_type", vocabulary.kinds);
  header.add("tokenizer.ggml.merges", merges);
  return test::tokenizer_from(header);
}

// Another order of the same pieces would give other tokens: scores are not looked at.
TEST(ListedMerges, AreTakenInTheirOrder) {
  const auto first = listed_merges({"a", "b", "c", "▁"}, {"a b", "b c", "▁ a"});
  const auto second = listed_merges({"a", "b", "c", "▁"}, {"b c", "a b", "▁ a"});
  const EncodeOptions plain = {.add_bos = false};
  EXPECT_EQ(pieces_of(*first, first->encode("abc ab", plain)),
            (std::vector<std::string>{"ab", "c", "▁", "ab"}));
  EXPECT_EQ(pieces_of(*second, second->encode("abc ab", plain)),
            (std::vector<std::string>{"a", "bc", "▁", "ab"}));
}

TEST(ListedMerges, JoinOnlyWhatTheListJoins) {
  // "abc" is a piece, but no rule makes it of "a" and "bc"
  const auto tokenizer = listed_merges({"a", "b", "c", "▁", "abc"}, {"b c"});
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("abc é", {.add_bos = false})),
            (std::vector<std::string>{"a", "bc", "▁", "<0xC3>", "<0xA9>"}));
}

TEST(ListedMerges, KeepARunOfLineBreaksThatIsAPieceWhole) {
  const auto tokenizer = listed_merges({"\n", "\n\n\n", "a", "▁"}, {"\n \n", "a \n"});
  const auto pieces = [&](const std::string& text) {
    return pieces_of(*tokenizer, tokenizer->encode(text, {.add_bos = false}));
  };
  EXPECT_EQ(pieces("a\n\n\na"), (std::vector<std::string>{"a", "\n\n\n", "a"}));
  EXPECT_EQ(pieces("a\na"), (std::vector<std::string>{"a", "\n", "a"}));
  EXPECT_EQ(pieces("\n\n\n\n"), (std::vector<std::string>{"\n\n", "\n\n"}));
}

TEST(ListedMerges, MarksOfTurnsAreNotMadeFromText) {
  test::SmallVocabulary vocabulary = test::sentencepiece_vocabulary({"a", "▁", "<", ">", "|", "t"});
  const Token mark = vocabulary.add("<|t>", TokenKind::kUserDefined, -1);
  const auto tokenizer = test::tokenizer_from(test::sentencepiece_header(vocabulary));
  EXPECT_EQ(tokenizer->encode("<|t>", {.add_bos = false, .parse_special = true}),
            std::vector<Token>{mark});
  const std::vector<Token> typed = tokenizer->encode("<|t>", {});
  EXPECT_EQ(std::count(typed.begin(), typed.end(), mark), 0);
}

TEST(SentencePiece, ALongRunWithoutSpacesIsOneWord) {
  const auto tokenizer = test::tokenizer_from(
      test::sentencepiece_header(test::sentencepiece_vocabulary({"▁", "a", "aa", "aaaa"})));
  const std::string run(1 << 20, 'a');
  const std::vector<Token> tokens = tokenizer->encode(run, {.add_bos = false});
  EXPECT_EQ(tokens.size(), 1 + run.size() / 4);
}

TEST(SentencePiece, WritesASpaceOfTheTextAndTheLetterThatStandsForItApart) {
  const auto tokenizer = test::tokenizer_from(
      test::sentencepiece_header(test::sentencepiece_vocabulary({"▁", "a", "▁a"})));
  const std::vector<Token> tokens = tokenizer->encode(" a▁a", {});
  EXPECT_EQ(pieces_of(*tokenizer, tokens),
            (std::vector<std::string>{"<s>", "▁", "▁a", "<0xE2>", "<0x96>", "<0x81>", "a"}));
  EXPECT_EQ(tokenizer->decode(tokens), " a▁a");
}

TEST(SentencePiece, ControlTokensComeFromTextOnlyWhenAskedFor) {
  auto vocabulary = test::sentencepiece_vocabulary({"▁", "<", "/", "s", ">", "</", "</s", "a"});
  const auto tokenizer = test::tokenizer_from(test::sentencepiece_header(vocabulary));
  const auto plain = tokenizer->encode("a</s>a", {.add_bos = false});
  EXPECT_EQ(pieces_of(*tokenizer, plain), (std::vector<std::string>{"▁", "a", "</s", ">", "a"}));
  const auto special = tokenizer->encode("a</s>a", {.add_bos = false, .parse_special = true});
  EXPECT_EQ(pieces_of(*tokenizer, special), (std::vector<std::string>{"▁", "a", "</s>", "▁", "a"}));
}

TEST(SentencePiece, LeavesTheSpaceOutWhereTheFileOrTheCallerSaysSo) {
  const auto vocabulary = test::sentencepiece_vocabulary({"▁", "a", "▁a"});
  const auto tokenizer = test::tokenizer_from(test::sentencepiece_header(vocabulary));
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("a", {})),
            (std::vector<std::string>{"<s>", "▁a"}));
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("a", {.space_prefix = false})),
            (std::vector<std::string>{"<s>", "a"}));
  auto header = test::sentencepiece_header(vocabulary);
  header.add("tokenizer.ggml.add_space_prefix", false);
  const auto without = test::tokenizer_from(header);
  EXPECT_EQ(pieces_of(*without, without->encode("a a", {})),
            (std::vector<std::string>{"<s>", "a", "▁a"}));
  EXPECT_EQ(without->decode(without->encode(" a", {})), " a");
}

TEST(SentencePiece, ACharacterThatNothingStandsForIsAnErrorThatNamesItsByte) {
  auto vocabulary = test::sentencepiece_vocabulary({"a", "b"});
  for (std::int32_t& kind : vocabulary.kinds)
    if (kind == static_cast<std::int32_t>(TokenKind::kByte))
      kind = static_cast<std::int32_t>(TokenKind::kNormal);
  auto header = test::sentencepiece_header(vocabulary);
  header.add("tokenizer.ggml.unknown_token_id", std::uint32_t{0xffffffff});
  const auto tokenizer = test::tokenizer_from(header);
  EXPECT_EQ(tokenizer->encode("ab", {.add_bos = false, .space_prefix = false}).size(), 2U);
  const std::string text = test::error_of(
      [&] { tokenizer->encode("a\xE6\x97\xA5\x62", {.add_bos = false, .space_prefix = false}); });
  EXPECT_NE(text.find("no token for byte 0xE6"), std::string::npos) << text;
}

TEST(SentencePiece, KnowsTheNamesThatEndAnAnswer) {
  auto vocabulary = test::sentencepiece_vocabulary({"▁"});
  const Token control = vocabulary.add("<|im_end|>", TokenKind::kControl);
  const Token user_defined = vocabulary.add("<end_of_turn>", TokenKind::kUserDefined);
  const Token plain = vocabulary.add("<EOT>", TokenKind::kNormal, -9);
  const auto tokenizer = test::tokenizer_from(test::sentencepiece_header(vocabulary));
  EXPECT_TRUE(tokenizer->is_end_of_generation(control));
  EXPECT_TRUE(tokenizer->is_end_of_generation(user_defined));
  EXPECT_TRUE(tokenizer->is_control(user_defined));
  EXPECT_FALSE(tokenizer->is_end_of_generation(plain));
}

TEST(SentencePiece, DamagedListsAreErrorsThatNameThem) {
  auto vocabulary = test::sentencepiece_vocabulary({"▁", "a"});
  vocabulary.scores.pop_back();
  try {
    test::tokenizer_from(test::sentencepiece_header(vocabulary));
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tokenizer.ggml.scores: want 261"), std::string::npos)
        << error.what();
  }
}

TEST(Tokenizer, AnUnknownKindIsAnErrorThatListsTheKnown) {
  gguf::Header header;
  header.add("tokenizer.ggml.model", std::string("wpm"));
  try {
    test::tokenizer_from(header);
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("want llama, gpt2 or gemma4, file has wpm"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace runnel
