#include "chat/rendering.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "runnel/error.h"

namespace runnel {
namespace {

using jinja::Origin;
using jinja::Value;
using Entries = std::vector<std::pair<Value, Value>>;

// Templates put the role between marks ('<|' + role + '|>'), so these names, which nobody types,
// count as the template's own text.
constexpr std::array<std::string_view, 8> kRoles = {"system",    "user",     "assistant", "tool",
                                                    "developer", "function", "ipython",   "model"};

void add(Entries& entries, std::string_view key, Value value) {
  entries.emplace_back(Value::text(std::string(key), Origin::kTemplate), std::move(value));
}

Value said(const std::string& text) { return Value::text(text, Origin::kValue); }

Value role_value(const std::string& role) {
  const bool is_known = std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end();
  return Value::text(role, is_known ? Origin::kTemplate : Origin::kValue);
}

// Arguments as the object they stand for; what is no JSON stays text.
Value arguments_value(const std::string& arguments) {
  try {
    return jinja::value_from_json(arguments.empty() ? "{}" : arguments, Origin::kValue);
  } catch (const Error&) {
    return said(arguments);
  }
}

Value call_value(const ToolCall& call) {
  Entries function, entries;
  add(function, "name", said(call.name));
  add(function, "arguments", arguments_value(call.arguments));
  if (!call.id.empty()) add(entries, "id", said(call.id));
  add(entries, "type", Value::text("function", Origin::kTemplate));
  add(entries, "function", Value::dict(std::move(function)));
  return Value::dict(std::move(entries));
}

Value message_value(const ChatMessage& message) {
  Entries entries;
  add(entries, "role", role_value(message.role));
  add(entries, "content", said(message.content));
  if (!message.reasoning.empty()) {
    add(entries, "reasoning_content", said(message.reasoning));
    add(entries, "thinking", said(message.reasoning));
  }
  if (!message.tool_calls.empty()) {
    std::vector<Value> calls;
    for (const ToolCall& call : message.tool_calls) calls.push_back(call_value(call));
    add(entries, "tool_calls", Value::list(std::move(calls)));
  }
  if (!message.tool_call_id.empty()) add(entries, "tool_call_id", said(message.tool_call_id));
  if (!message.name.empty()) add(entries, "name", said(message.name));
  return Value::dict(std::move(entries));
}

class Interpreted final : public ChatRendering {
 public:
  Interpreted(jinja::Template parsed, const Tokenizer& vocabulary)
      : template_(std::move(parsed)), vocabulary_(&vocabulary) {}

  std::vector<ChatText> render(std::span<const ChatMessage> messages,
                               const ChatOptions& options) const override {
    std::vector<ChatText> pieces;
    const jinja::Text text = template_.render(variables(messages, options));
    for (const jinja::Text::Span& span : text.spans()) {
      pieces.push_back({std::string(span.bytes), span.origin == Origin::kTemplate});
    }
    return pieces;
  }

 private:
  jinja::Variables variables(std::span<const ChatMessage> messages,
                             const ChatOptions& options) const {
    jinja::Variables variables;
    if (!options.variables.empty()) {
      const Value given = jinja::value_from_json(options.variables, Origin::kValue);
      if (given.as_dict() == nullptr) throw Error("variables of the template: want an object");
      for (const auto& [name, value] : given.as_dict()->entries) {
        variables.emplace_back(name.as_text()->bytes(), value);
      }
    }
    std::vector<Value> all;
    for (const ChatMessage& message : messages) all.push_back(message_value(message));
    variables.emplace_back("messages", Value::list(std::move(all)));
    variables.emplace_back("tools", tools_value(options.tools));
    variables.emplace_back("documents", Value::none());
    variables.emplace_back("add_generation_prompt", Value::of(options.add_generation_prompt));
    if (options.enable_thinking) {
      variables.emplace_back("enable_thinking", Value::of(*options.enable_thinking));
    }
    add_token(variables, "bos_token", vocabulary_->bos());
    add_token(variables, "eos_token", vocabulary_->eos());
    add_token(variables, "unk_token", vocabulary_->vocabulary().unknown());
    return variables;
  }

  static Value tools_value(const std::string& tools) {
    if (tools.empty()) return Value::none();
    Value value = jinja::value_from_json(tools, Origin::kValue);
    if (!value.is_list()) throw Error("tools: want a JSON list");
    return value;
  }

  void add_token(jinja::Variables& variables, std::string name, std::optional<Token> token) const {
    if (!token) return;
    std::string piece(vocabulary_->piece(*token));
    variables.emplace_back(std::move(name), Value::text(std::move(piece), Origin::kTemplate));
  }

  jinja::Template template_;
  const Tokenizer* vocabulary_;
};

class ByFormat final : public ChatRendering {
 public:
  explicit ByFormat(const ChatFormat& format) : format_(format) {}

  std::vector<ChatText> render(std::span<const ChatMessage> messages,
                               const ChatOptions& options) const override {
    if (!options.tools.empty()) {
      throw Error(fmt::format("format {}: tools have no place in it", format_.name()));
    }
    std::string prompt;
    std::size_t first = 0;
    for (; first < messages.size() && is_system(messages[first]); ++first) {
      prompt += (prompt.empty() ? "" : "\n\n") + messages[first].content;
    }
    std::vector<ChatText> out;
    add(format_.system(prompt), out);
    Turn turn = prompt.empty() ? Turn::kFirst : Turn::kAfterSystem;
    bool is_asked = false;
    for (const ChatMessage& message : messages.subspan(first)) {
      const bool is_answer = message.role == "assistant";
      if (is_answer != is_asked) {
        throw Error(fmt::format("format {}: want user and assistant by turns", format_.name()));
      }
      if (is_answer) {
        out.push_back({message.content, false});
        add(format_.end_of_answer(), out);
      } else if (message.role == "user") {
        add(format_.user_turn(message.content, std::exchange(turn, Turn::kLater)), out);
      } else {
        throw Error(
            fmt::format("format {}: role {} has no place here", format_.name(), message.role));
      }
      is_asked = !is_answer;
    }
    return out;
  }

 private:
  static bool is_system(const ChatMessage& message) {
    return message.role == "system" || message.role == "developer";
  }
  static void add(const std::vector<TextSegment>& segments, std::vector<ChatText>& out) {
    for (const TextSegment& segment : segments) out.push_back({segment.text, segment.is_special});
  }

  ChatFormat format_;
};

}  // namespace

std::unique_ptr<ChatRendering> interpreted(jinja::Template parsed, const Tokenizer& vocabulary) {
  return std::make_unique<Interpreted>(std::move(parsed), vocabulary);
}

std::unique_ptr<ChatRendering> by_format(const ChatFormat& format) {
  return std::make_unique<ByFormat>(format);
}

std::string joined(std::span<const ChatText> text) {
  std::string all;
  for (const ChatText& piece : text) all += piece.text;
  return all;
}

}  // namespace runnel
