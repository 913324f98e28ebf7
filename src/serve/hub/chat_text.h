// What people say as the text that a model reads. A stream's dialogue only grows, so messages
// become the text that goes on from where the stream stands.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/chat.h"
#include "runnel/runnel.h"
#include "tokenizer/chat_format.h"

namespace runnel::serve {

struct Message {
  std::string role;  // "system", "developer", "user", "assistant", "tool"
  std::string text;
};

// Where a dialogue stands.
enum class DialogueState {
  kFresh,        // nothing was said
  kAfterSystem,  // a system prompt was
  kUserOpen,     // a user speaks
  kAnswerOpen,   // an answer has begun and is not closed
  kAnswered,     // the model closed its answer itself
  kBetween,      // an answer is closed
};

// By the model's own template, interpreted, where it lets a dialogue go on; else by the format of
// its family; else as plain text, a line a message.
class Dialogues {
 public:
  // A name chooses another template ("plain": none). Error: a name that is not known.
  Dialogues(const Model& model, const std::string& template_name);

  // The system prompt, which a stream begins with and never forgets; empty: nothing to pin.
  std::vector<TextSegment> opening(std::string_view system) const;
  // The messages from `state` on, which they change; `asks`: up to where an answer begins.
  std::vector<TextSegment> turns(std::span<const Message> messages, DialogueState& state,
                                 bool asks) const;
  std::vector<Token> encode(std::span<const TextSegment> segments, bool is_first) const;

  // Texts that end an answer besides the model's own tokens.
  const std::vector<std::string>& stops() const { return stops_; }
  // What the model's end of an answer stands for in the text; may be empty.
  const std::string& closing_mark() const { return closing_mark_; }
  std::string name() const;

 private:
  std::optional<std::vector<TextSegment>> interpreted_opening(std::string_view system) const;
  std::optional<std::vector<TextSegment>> interpreted_turns(std::span<const Message> messages,
                                                            DialogueState state, bool asks) const;
  std::vector<TextSegment> closing() const;
  std::vector<TextSegment> closing_after_mark() const;
  void say(std::string_view text, DialogueState& state, std::vector<TextSegment>& out) const;
  void ask(DialogueState& state, std::vector<TextSegment>& out) const;

  const Model* model_;
  std::optional<ChatTemplate> own_;     // interpreted
  std::optional<ChatFormat> template_;  // of the family
  std::vector<std::string> stops_;
  std::string closing_mark_;
};

// Segments as one string that tells special bytes from said ones, so that one dialogue's text can
// be compared with another's. (0xFF, which no UTF-8 text holds, stands before each special byte.)
std::string flagged(std::span<const TextSegment> segments);
std::vector<TextSegment> unflagged(std::string_view text);

}  // namespace runnel::serve
