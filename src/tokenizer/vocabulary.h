// The tokens of a GGUF file (metadata keys tokenizer.ggml.*), as both kinds of tokenizer share
// them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "gguf/file.h"
#include "runnel/options.h"
#include "tokenizer/piece_table.h"

namespace runnel {

// The numbers of tokenizer.ggml.token_type.
enum class TokenKind : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // <s>, <|im_start|>: never the result of ordinary text
  kUserDefined = 4,  // found in any text before everything else
  kUnused = 5,
  kByte = 6,  // "<0x0A>"
};

// What a kind of vocabulary assumes where the file says nothing.
struct VocabularyDefaults {
  std::optional<Token> bos = std::nullopt;
  std::optional<Token> eos = std::nullopt;
  std::optional<Token> unknown = std::nullopt;
  bool adds_bos = false;
};

class Vocabulary {
 public:
  // Error: no tokens, lists of different lengths, an unknown token type, a special token out of
  // range.
  Vocabulary(const gguf::File& file, const VocabularyDefaults& defaults);
  Vocabulary(Vocabulary&&) noexcept = default;
  Vocabulary& operator=(Vocabulary&&) noexcept = default;

  int size() const { return static_cast<int>(ends_of_pieces_.size()); }
  bool contains(Token token) const { return token >= 0 && token < size(); }
  std::string_view piece(Token token) const;
  TokenKind kind(Token token) const { return kinds_[static_cast<std::size_t>(token)]; }
  // The first token with this piece.
  std::optional<Token> find(std::string_view piece) const;
  // Those whose piece a token before them has, in rising order.
  const std::vector<Token>& repeated() const { return repeated_; }

  std::optional<Token> bos() const { return bos_; }
  std::optional<Token> eos() const { return eos_; }
  std::optional<Token> unknown() const { return unknown_; }
  bool adds_bos() const { return adds_bos_; }
  bool is_end_of_generation(Token token) const { return ends_.contains(token); }

 private:
  void read_pieces(const gguf::File& file);
  void read_kinds(const gguf::File& file);
  void find_ends(const gguf::File& file);

  std::vector<char> pieces_;  // one after the other
  std::vector<std::uint32_t> ends_of_pieces_;
  std::vector<TokenKind> kinds_;
  PieceTable by_piece_;  // views of pieces_
  std::vector<Token> repeated_;
  std::optional<Token> bos_, eos_, unknown_;
  std::unordered_set<Token> ends_;
  bool adds_bos_ = false;
};

}  // namespace runnel
