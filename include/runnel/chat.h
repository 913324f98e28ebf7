// Dialogues as a model expects them: messages become tokens by the model's own chat template
// (tokenizer.chat_template in the file, interpreted), as transformers' apply_chat_template gives
// them. What people say never becomes a control token: only the template's own text may.
//
//   const runnel::ChatTemplate chat = runnel::ChatTemplate::of(model);
//   stream.feed(chat.tokens({{{.role = "user", .content = "Hello"}}}));
//
// A dialogue that never ends is one stream that only grows; its template is asked for what a turn
// adds, never for the whole:
//
//   StreamOptions{.pin_tokens = chat.opening(system)}
//   stream.feed(chat.turn(system, user));                  answer: until chat.is_end(step.token)
//   stream.feed(chat.turn(answered, user));                ...
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/answer.h"
#include "runnel/error.h"
#include "runnel/options.h"

namespace runnel {

class Model;

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON, an object
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool", or what else the template knows
  std::string content = {};
  std::string reasoning = {};  // of an assistant, where the template has a place for it
  std::vector<ToolCall> tool_calls = {};
  std::string tool_call_id = {};  // of a tool's answer
  std::string name = {};          // of the tool that answers
};

struct ChatOptions {
  std::string tools = {};  // JSON, a list as OpenAI's API has it; empty: none
  bool add_generation_prompt = true;
  std::optional<bool> enable_thinking = std::nullopt;  // not given: as the template has it
  std::string variables = {};  // JSON, an object: further variables of the template
};

// A piece of a rendered dialogue. Control tokens are looked for in the template's own text alone.
struct ChatText {
  std::string text;
  bool is_template = false;
};

// The model must outlive it. May be used by several threads at once.
class ChatTemplate {
 public:
  // The file's own template; without one, or where it cannot be interpreted, the format of its
  // family (warning() says so). `name`: another one of the file's named templates ("tool_use"), or
  // a format by name ("chatml"). Error: there is none, or a name that is not known.
  static ChatTemplate of(const Model& model, const std::string& name = {});
  // A template in Jinja's language. Error: it is none, with the line.
  static ChatTemplate from_source(const Model& model, std::string_view source);
  static std::vector<std::string> format_names();

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // "the model's own template", "the model's template tool_use", "format chatml".
  const std::string& name() const;
  bool is_interpreted() const;
  // What a user should know: why the own template was not taken, or marks that the vocabulary does
  // not have. Empty: nothing.
  const std::string& warning() const;

  // A whole dialogue. Error: what the template raises ("roles must alternate"), or what a format
  // that is not interpreted has no place for (tools).
  std::vector<ChatText> text(std::span<const ChatMessage> messages,
                             const ChatOptions& options = {}) const;
  std::vector<Token> tokens(std::span<const ChatMessage> messages,
                            const ChatOptions& options = {}) const;
  // `is_first`: the text begins a stream.
  std::vector<Token> tokens(std::span<const ChatText> text, bool is_first) const;

  // What a dialogue begins with, up to the first turn: to be pinned. `before` holds system messages
  // only; a template may have a prompt of its own. Empty: nothing to pin.
  std::vector<Token> opening(std::span<const ChatMessage> before,
                             const ChatOptions& options = {}) const;
  // What `added` adds to a stream. `before` is empty or holds system messages only: behind
  // opening(before). Or it ends with an assistant's message: behind what the model wrote as that
  // answer, whose end is part of the result. What `before` says is not looked at otherwise, so
  // short stand-ins of the same roles do.
  std::vector<Token> turn(std::span<const ChatMessage> before, std::span<const ChatMessage> added,
                          const ChatOptions& options = {}) const;

  // What stands behind an answer, whether or not the model wrote its end.
  std::vector<Token> end_of_answer() const;
  bool is_end(Token token) const;  // the model says that its answer is over
  // Texts that end an answer besides: models whose marks are plain text go on to write the next
  // turn themselves.
  const std::vector<std::string>& stops() const;
  // How answers are to be taken apart: calls and thoughts as this template writes them.
  AnswerForm answer_form(const ChatOptions& options = {}) const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace runnel
