#include "serve/hub/tool_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json_depth.h"

namespace runnel::serve {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::string call_text(const ToolCall& call) {
  OrderedJson given = OrderedJson::value_t::discarded;
  if (!is_nested_deeper(call.arguments)) given = OrderedJson::parse(call.arguments, nullptr, false);
  const OrderedJson arguments = given.is_discarded() ? OrderedJson(call.arguments) : given;
  return fmt::format("<tool_call>\n{}\n</tool_call>",
                     OrderedJson{{"name", call.name}, {"arguments", arguments}}.dump(
                         -1, ' ', false, OrderedJson::error_handler_t::replace));
}

std::string text_of(const Message& message) {
  std::string text = message.content;
  if (message.role == "tool") return "<tool_response>\n" + text + "\n</tool_response>";
  for (const ToolCall& call : message.tool_calls)
    text += (text.empty() ? "" : "\n") + call_text(call);
  return text;
}

}  // namespace

std::string tools_in_words(const std::string& tools, CallStyle calls) {
  const OrderedJson list = OrderedJson::parse(tools, nullptr, false);
  if (!list.is_array() || list.empty()) return {};
  std::string text = "# Tools\n\nYou may call these functions:\n<tools>\n";
  for (const OrderedJson& tool : list)
    text += tool.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  text += "</tools>";
  switch (calls) {
    case CallStyle::kTagged:
      return text +
             "\n\nTo call one, write its name and its arguments as JSON:\n<tool_call>\n"
             "{\"name\": \"...\", \"arguments\": {...}}\n</tool_call>";
    case CallStyle::kBare:
      return text + "\n\nTo call one, answer with {\"name\": \"...\", \"parameters\": {...}}";
    case CallStyle::kListed:  // as the model knows to
    case CallStyle::kChannels:
    case CallStyle::kNone:
      break;
  }
  return text;
}

std::vector<Message> in_words(std::span<const Message> messages) {
  std::vector<Message> simple;
  for (const Message& message : messages) {
    const std::string role = message.role == "assistant" ? "assistant" : "user";
    const std::string text = text_of(message);
    if (!simple.empty() && simple.back().role == role) {
      simple.back().content += "\n" + text;
    } else {
      simple.push_back({.role = role, .content = text});
    }
  }
  return simple;
}

std::string name_of_call(std::span<const Message> messages, const std::string& id) {
  for (auto message = messages.rbegin(); message != messages.rend(); ++message) {
    for (const ToolCall& call : message->tool_calls) {
      if (call.id == id) return call.name;
    }
  }
  return {};
}

}  // namespace runnel::serve
