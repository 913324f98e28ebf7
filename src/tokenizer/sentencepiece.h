// SentencePiece-style BPE ("llama"): the characters of the text, spaces written as ▁, are merged
// into pieces by score, best first; what is in no piece becomes one byte token for each byte.
// Gemma 4 ("gemma4") has a list of merges instead of scores, first rule first; runs of line breaks
// are words by themselves, and one that is a piece is not taken apart.
//
// Unlike the original, a ▁ that stands in the text itself becomes its bytes, so that decoding gives
// every text back; and no ordinary text ever merges into a control, byte or unused token.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "tokenizer/bpe.h"
#include "tokenizer/piece_table.h"
#include "tokenizer/tokenizer.h"

namespace runnel {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const gguf::File& file);
  bool has_space_prefix() const override { return has_space_prefix_; }

 protected:
  void encode_plain(std::string_view text, bool space_prefix, WordCache& words,
                    std::vector<Token>& tokens) const override;
  std::vector<std::size_t> seams(std::string_view text) const override;
  std::string decode_plain(Token token) const override;

 private:
  // Symbols of the merging: tokens; from size() on, characters that occur in pieces but are none
  // themselves; ~byte for bytes that are never merged.
  int symbol_of(std::string_view text) const;  // PieceTable::kNone: merges make no such text
  void index_symbols();
  void index_neighbours() const;
  void index_merges(const std::vector<float>& scores);
  void index_listed_merges(const gguf::File& file);
  void note_spaces(std::string_view piece);
  std::size_t word_length(std::string_view text) const;
  void push_character(std::string_view character, std::vector<int>& word) const;
  void encode_word(std::string_view word, bool space_prefix, Merger& merger,
                   std::vector<int>& symbols, std::vector<Token>& tokens) const;
  void push_tokens(int symbol, std::vector<Token>& tokens) const;
  void push_byte(unsigned char byte, std::vector<Token>& tokens) const;

  bool has_space_prefix_ = true;
  bool doubles_space_;  // a text that begins with one gets another; not as Metaspace has it
  bool has_listed_merges_ = false;
  MergeTable merges_;
  std::deque<std::string> characters_;    // of the symbols from size() on
  PieceTable other_symbols_;              // they, and tokens that another kind's has the text of
  std::array<int, 128> ascii_{};          // symbol of an ASCII character; its ~byte
  std::array<Token, 256> byte_tokens_{};  // -1: the vocabulary has none
  // Characters that stand beside each other in some piece; found when they are first asked for.
  mutable std::once_flag has_neighbours_;
  mutable std::unordered_set<std::uint64_t> neighbours_;
  std::array<bool, 256> joins_space_{};  // some piece has a ▁ right after a character ending so
};

}  // namespace runnel
