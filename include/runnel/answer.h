// What a model writes as an answer, taken apart while it is written: text for the reader, thoughts,
// calls of tools. Pieces may be cut anywhere; what may still become a mark waits for the next one.
//
//   AnswerParser parser(chat.answer_form(options));
//   for (const AnswerEvent& event : parser.push(step.text)) ...
//   for (const AnswerEvent& event : parser.finish()) ...
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace runnel {

// How a family of templates writes calls.
enum class CallStyle {
  kNone,
  kTagged,   // <tool_call>{"name": ..., "arguments": {...}}</tool_call>: Hermes, Qwen, ChatML
  kBare,     // the answer is {"name": ..., "parameters": {...}}: Llama 3
  kListed,   // [TOOL_CALLS][{"name": ..., "arguments": {...}}], or name[ARGS]{...}: Mistral
  kChannels  // <|channel|>commentary to=functions.name<|message|>{...}: gpt-oss
};

struct AnswerForm {
  CallStyle calls = CallStyle::kNone;
  std::string think_begin, think_end;  // "<think>", "</think>"; empty: no thoughts
  bool begins_thinking = false;        // the prompt ends within a thought
};

struct AnswerEvent {
  enum class Kind { kText, kReasoning, kCallBegin, kCallArguments, kCallEnd };
  Kind kind;
  std::string text = {};  // of kText, kReasoning; a piece of the arguments' JSON
  int index = 0;          // of the call, from 0
  std::string id = {};    // of kCallBegin, where the model gave one before its arguments
  std::string name = {};  // of kCallBegin
  bool operator==(const AnswerEvent&) const = default;
};

class AnswerParser {
 public:
  explicit AnswerParser(const AnswerForm& form);
  AnswerParser(AnswerParser&&) noexcept;
  AnswerParser& operator=(AnswerParser&&) noexcept;
  ~AnswerParser();

  std::vector<AnswerEvent> push(std::string_view text);
  // A control token that came, by its name ("<|channel|>"). Text that only looks like one is text
  // where the family's marks are control tokens.
  std::vector<AnswerEvent> push_mark(std::string_view name);
  // The answer is over: what was held back. What began like a call and is none is text.
  std::vector<AnswerEvent> finish();
  int calls() const;  // begun so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel
