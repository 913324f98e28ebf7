// Cuts text that arrives in pieces of any size (standard input, a socket) where it can be encoded
// piece by piece, the second and later pieces with EncodeOptions::space_prefix = false.
//
// What is promised: the pieces put together are the text, no cut falls inside a UTF-8 character,
// and at most kMostWaiting bytes wait. A cut stands before a space that follows a visible ASCII
// character. No pre-tokenizer known here joins words across such a place, and no merge or added
// token does in the vocabularies of the models we know, so the tokens are those of the whole text.
// Only a text without any such place for kMostWaiting bytes (Chinese, one endless word) is cut
// elsewhere: after a line's end where there is one, else between two characters; there the tokens
// at the seam may differ, though the text does not.
#pragma once

#include <string>
#include <string_view>

namespace runnel {

class TextSplitter {
 public:
  static constexpr std::size_t kMostWaiting = 64 * 1024;

  // The text that can now be encoded; may be empty.
  std::string push(std::string_view bytes);
  // The rest, at the end of the text.
  std::string finish();

 private:
  std::string waiting_;
};

}  // namespace runnel
