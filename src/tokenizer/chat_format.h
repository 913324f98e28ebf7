// The dialogue formats of the common model families, as the text around what people say: for files
// that hold no template, or one that cannot be interpreted, which is then recognised by what it
// contains.
//
// A dialogue is one stream of text that only grows, so each turn prefills only what is new:
//
//   system(prompt)  user_turn(text, kAfterSystem)  answer  end_of_answer()
//                   user_turn(text, kLater)        answer  end_of_answer() ...
//
// The pieces are segments: only the template's own parts may become control tokens, never what
// somebody typed. Tokenizer::encode() takes them
// whole, with add_bos and space_prefix for the very first piece alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace runnel {

struct FormatText;

// Where a user's turn stands: first of all, right behind a system prompt, or behind an answer.
enum class Turn { kFirst, kAfterSystem, kLater };

class ChatFormat {
 public:
  // Error: a template that is not recognised, or a name that is not known, with the known names.
  static ChatFormat detect(std::string_view jinja);
  static ChatFormat named(std::string_view name);
  static std::vector<std::string_view> known_names();

  std::string_view name() const;

  // What a dialogue begins with, and what is to be pinned; without a prompt most families have
  // none. Families without a system role fold the prompt into the first user turn, which this then
  // opens.
  std::vector<TextSegment> system(std::string_view prompt) const;
  // From behind what came before to where the answer begins.
  std::vector<TextSegment> user_turn(std::string_view text, Turn turn) const;
  // Closes an answer, whether or not the model wrote an end token (which is then not fed by
  // itself).
  std::vector<TextSegment> end_of_answer() const;
  // Texts that end an answer besides the end-of-generation tokens: models whose marks are plain
  // text go on to write the next turn themselves.
  std::vector<std::string_view> stops() const;

 private:
  explicit ChatFormat(const FormatText& format) : format_(&format) {}
  const FormatText* format_;  // one of a constant table
};

}  // namespace runnel
