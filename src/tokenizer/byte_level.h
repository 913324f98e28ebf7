// Byte-level BPE ("gpt2"): words from the pre-tokenizer, merged from their bytes by the file's list
// of merges, first rule first. The file writes bytes as printable characters ("Ġthe"); inside,
// tokens are the bytes themselves. Any bytes come back from decode() as long as each has a token;
// one without (some vocabularies know the bytes of valid UTF-8 only) becomes the replacement
// character.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/bpe.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace runnel {

class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(const gguf::File& file);
  bool has_space_prefix() const override { return false; }

 protected:
  void encode_plain(std::string_view text, bool space_prefix, WordCache& words,
                    std::vector<Token>& tokens) const override;
  std::vector<std::size_t> seams(std::string_view text) const override;
  std::string decode_plain(Token token) const override;

 private:
  // Symbols of the merging: tokens; from size() on, texts of the merges that are no token.
  class Symbols;
  ByteLevelTokenizer(const gguf::File& file, PreTokenizer pre_tokenizer);
  void index_tokens();
  void index_merges(const gguf::File& file);
  void choose_replacement();
  void encode_word(std::string_view word, Merger& merger, std::vector<int>& symbols,
                   std::vector<Token>& tokens) const;
  void push_tokens(int symbol, std::vector<Token>& tokens) const;
  void push_replacement(unsigned char byte, std::vector<Token>& tokens) const;

  PreTokenizer pre_tokenizer_;
  MergeTable merges_;
  std::vector<std::string> bytes_;                        // of each symbol, tokens first
  std::array<int, 256> byte_symbols_{};                   // the symbol of each byte
  std::vector<Token> replacement_;                        // for a byte without a token
  std::unordered_map<std::string_view, Token> by_bytes_;  // whole words, when merges are ignored
};

}  // namespace runnel
