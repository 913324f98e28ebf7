// Small vocabularies, made in memory, for tests that look at one rule at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gguf/writer.h"
#include "tokenizer/tokenizer.h"

namespace runnel::test {

struct SmallVocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> kinds;  // as tokenizer.ggml.token_type
  std::vector<float> scores;
  std::vector<std::string> merges;

  Token add(const std::string& piece, TokenKind kind, float score = 0) {
    tokens.push_back(piece);
    kinds.push_back(static_cast<std::int32_t>(kind));
    scores.push_back(score);
    return static_cast<Token>(tokens.size() - 1);
  }
};

inline std::unique_ptr<Tokenizer> tokenizer_from(const gguf::Header& header) {
  const std::string bytes = header.encode();
  return Tokenizer::from(gguf::File::parse(std::as_bytes(std::span(bytes)), "test.gguf"));
}

// <unk> 0, <s> 1, </s> 2, the byte tokens 3 to 258, then `pieces` with falling scores.
inline SmallVocabulary sentencepiece_vocabulary(const std::vector<std::string>& pieces) {
  static const char* const kHex = "0123456789ABCDEF";
  SmallVocabulary vocabulary;
  vocabulary.add("<unk>", TokenKind::kUnknown);
  vocabulary.add("<s>", TokenKind::kControl);
  vocabulary.add("</s>", TokenKind::kControl);
  for (int byte = 0; byte < 256; ++byte) {
    const std::string hex{kHex[byte / 16], kHex[byte % 16]};
    vocabulary.add("<0x" + hex + ">", TokenKind::kByte);
  }
  float score = 0;
  for (const std::string& piece : pieces) vocabulary.add(piece, TokenKind::kNormal, --score);
  return vocabulary;
}

// The character GPT-2's byte-level vocabularies write for a byte.
inline std::string written_byte(int wanted) {
  int next = 256;
  for (int byte = 0;; ++byte) {
    const bool is_printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    const int written = is_printable ? byte : next++;
    if (byte != wanted) continue;
    if (written < 128) return std::string(1, static_cast<char>(written));
    return {static_cast<char>(0xC0 | written >> 6), static_cast<char>(0x80 | (written & 63))};
  }
}

// The bytes 0 to 255, then the result of each merge ("Ġ t") in order.
inline SmallVocabulary byte_level_vocabulary(const std::vector<std::string>& merges) {
  SmallVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.add(written_byte(byte), TokenKind::kNormal);
  for (const std::string& merge : merges) {
    const std::size_t space = merge.find(' ', 1);
    vocabulary.add(merge.substr(0, space) + merge.substr(space + 1), TokenKind::kNormal);
  }
  vocabulary.merges = merges;
  return vocabulary;
}

inline gguf::Header sentencepiece_header(const SmallVocabulary& vocabulary) {
  gguf::Header header;
  header.add("tokenizer.ggml.model", std::string("llama"));
  header.add("tokenizer.ggml.tokens", vocabulary.tokens);
  header.add("tokenizer.ggml.token_type", vocabulary.kinds);
  header.add("tokenizer.ggml.scores", vocabulary.scores);
  return header;
}

// An empty `pre` writes no tokenizer.ggml.pre.
inline gguf::Header byte_level_header(const SmallVocabulary& vocabulary, const std::string& pre) {
  gguf::Header header;
  header.add("tokenizer.ggml.model", std::string("gpt2"));
  if (!pre.empty()) header.add("tokenizer.ggml.pre", pre);
  header.add("tokenizer.ggml.tokens", vocabulary.tokens);
  header.add("tokenizer.ggml.token_type", vocabulary.kinds);
  header.add("tokenizer.ggml.merges", vocabulary.merges);
  return header;
}

}  // namespace runnel::test
