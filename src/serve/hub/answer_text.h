// What the tokens of an answer become: text, thoughts and calls of tools that may be shown, up to
// where a stop text, the template's end of a turn, or the one call that is wanted ends it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/internals.h"
#include "serve/hub/chat_text.h"
#include "serve/hub/stop_texts.h"

namespace runnel::serve {

class AnswerText {
 public:
  struct Options {
    std::vector<std::string> stops;      // texts that end it, and are not shown
    std::vector<std::string> turn_ends;  // the template's, which end it wherever they stand
    AnswerForm form;
    bool one_call = false;            // it ends behind its first call
    bool keeps_text = false;          // said() has all that it says, not its calls alone
    std::string begun;                // what it goes on with
    std::function<std::string()> id;  // of a call that brings none
  };
  AnswerText(Options options, const Tokenizer& vocabulary);

  // The events that a written token brings. Once it has ended there are none.
  std::vector<AnswerEvent> push(Token token, const std::string& text);
  // What was held back, where no more comes but `rest`.
  std::vector<AnswerEvent> flush(const std::string& rest);
  // Of a character, whose other half comes with the next token.
  void keep_half(std::string half) { half_ = std::move(half); }

  bool is_ended() const { return why_.has_value(); }
  std::string stop_text() const { return why_.value_or(""); }  // that ended it; empty: none did
  bool is_thinking() const { return is_thinking_; }
  // All that was pushed was given back as it came.
  bool holds_nothing() const;
  const Message& said() const { return said_; }  // as a message

 private:
  void show(std::vector<AnswerEvent> parsed, std::vector<AnswerEvent>& shown);
  void show(AnswerEvent event, std::vector<AnswerEvent>& shown);
  void end(std::string why);

  Options options_;
  const Tokenizer& vocabulary_;
  StopTexts stops_;
  StopTexts turn_ends_;
  std::optional<AnswerParser> parser_;  // where the answer has a form
  Message said_;
  std::string half_;
  bool is_thinking_ = false;
  bool is_cut_ = false;  // nothing more is shown
  std::optional<std::string> why_;
};

}  // namespace runnel::serve
