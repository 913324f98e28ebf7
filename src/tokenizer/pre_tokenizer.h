// The step before byte-level BPE: text is cut into words by the regular expressions that the model
// was trained with (tokenizer.ggml.pre names them); merges never cross a cut.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/regex.h"

namespace runnel {

class PreTokenizer {
 public:
  // Error: an unknown name, with the known ones.
  explicit PreTokenizer(std::string_view name);

  // The name of a scheme that is this one expression.
  static std::optional<std::string_view> find_scheme(std::string_view pattern, bool ignores_merges);

  // The words of text, in order and without gaps. Any bytes: a run of bytes that is not UTF-8 is a
  // word of its own. Borrows the text.
  std::vector<std::string_view> split(std::string_view text) const;

  // A word that is a token as it stands is not merged from its bytes.
  bool ignores_merges() const { return ignores_merges_; }
  bool adds_bos() const { return adds_bos_; }  // where the file does not say
  // The models' tokenizers bring text to normalisation form C first.
  bool composes() const { return composes_; }

 private:
  std::vector<Regex> stages_;  // each cuts the pieces of the one before
  bool ignores_merges_ = false;
  bool adds_bos_ = false;
  bool composes_ = false;
};

}  // namespace runnel
