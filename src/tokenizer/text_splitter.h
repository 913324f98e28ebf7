// Cuts text that arrives in pieces of any size (standard input, a socket) where it can be encoded
// piece by piece, the second and later pieces with EncodeOptions::space_prefix = false.
//
// What is promised: the pieces put together are the text, no cut falls inside a UTF-8 character,
// and at most kMostWaiting bytes wait. A cut stands before a space that follows a visible ASCII
// character: no pre-tokenizer known here joins words across such a place, and no merge or added
// token does in the vocabularies of the models we know, so the tokens are those of the whole text.
// Where kPatience bytes hold no such place (Chinese, minified JSON), a tokenizer that was given
// looks for another one (Tokenizer::find_cut). Only a text without any (one endless word) is cut
// elsewhere, in the end: after a line's end where there is one, else between two characters; there
// the tokens at the seam may differ, though the text does not.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace runnel {

class TextSplitter {
 public:
  static constexpr std::size_t kPatience = 64 * 1024;
  static constexpr std::size_t kMostWaiting = 16 * kPatience;

  // The tokenizer must outlive the splitter.
  void cut_for(const Tokenizer& tokenizer) { tokenizer_ = &tokenizer; }

  // The text that can now be encoded; may be empty.
  std::string push(std::string_view bytes);
  // The rest, at the end of the text.
  std::string finish();

 private:
  std::size_t late_cut();

  const Tokenizer* tokenizer_ = nullptr;
  std::string waiting_;
  std::size_t looked_at_ = 0;  // bytes of it, when the tokenizer was last asked
};

}  // namespace runnel
