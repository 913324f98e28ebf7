// What people say as the tokens that a model reads. A stream's dialogue only grows, so messages
// become the tokens that go on from where the stream stands.
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

using Message = ChatMessage;  // "developer" is one more name of "system"

// What a dialogue begins with.
struct Setting {
  std::string system;     // empty: none, or the template's own
  std::string tools;      // JSON, a list as chat completions have it; empty: none
  std::string variables;  // JSON, an object: further variables of the template; may be empty
  std::optional<bool> thinking;
};

// Where a dialogue stands.
enum class DialogueState {
  kFresh,        // nothing was said
  kAfterSystem,  // its opening was read
  kUserOpen,     // a user speaks
  kAnswerOpen,   // an answer has begun and is not closed
  kAnswered,     // the model closed its answer itself
};

struct Standing {
  DialogueState state = DialogueState::kFresh;
  std::vector<ToolCall> calls = {};  // of the last answer
};

// By the model's own template, interpreted, where it lets a dialogue go on like this; else by the
// format of its family; else as plain text, a line a message. Where a template has no place for
// tools they are described in the system prompt, as Hermes models know them. From any thread.
class Dialogues {
 public:
  // A name chooses another template ("plain": none), or a path a file with one. Error: a name that
  // is not known.
  Dialogues(const Model& model, const std::string& template_name);

  // What a stream begins with and never forgets; empty: nothing to pin.
  std::vector<Token> opening(const Setting& setting) const;
  // The messages from where the dialogue stands; `asks`: up to where an answer begins. A last
  // message of an assistant is left open, so that the answer goes on with it.
  std::vector<Token> turns(const Setting& setting, const Standing& standing,
                           std::span<const Message> messages, bool asks) const;
  // Where it stands behind them.
  static DialogueState state_behind(DialogueState state, std::span<const Message> messages,
                                    bool asks);
  // How an answer is written, and to be taken apart.
  AnswerForm form(const Setting& setting) const;

  // Texts that end an answer besides the model's own tokens.
  const std::vector<std::string>& stops() const { return stops_; }
  std::string name() const;

 private:
  struct Asked;  // of turns()
  std::optional<std::vector<Token>> by_template(const Asked& asked) const;
  std::vector<Token> interpreted(const Asked& asked) const;
  std::vector<Token> behind_user(const Asked& asked, const ChatOptions& options) const;
  std::vector<Token> by_format(const Asked& asked) const;
  std::vector<TextSegment> closing() const;
  void say(std::string_view text, DialogueState& state, std::vector<TextSegment>& out) const;
  void ask(DialogueState& state, std::vector<TextSegment>& out) const;
  std::vector<Token> encode(std::span<const TextSegment> segments, bool is_first) const;
  bool is_control(Token token) const;

  const Model* model_;
  std::optional<ChatTemplate> own_;   // interpreted
  std::optional<ChatFormat> format_;  // of the family
  CallStyle own_calls_ = CallStyle::kNone;
  std::vector<std::string> stops_;
};

}  // namespace runnel::serve
