// "messages" of chat completions, which Ollama's API has too.
#include <nlohmann/json.hpp>

#include "serve/protocols/completion_answer.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

// Arguments are a string of JSON, or the object itself.
std::string arguments_of(const Json& function) {
  const Json arguments = function.value("arguments", Json(""));
  if (arguments.is_string()) return arguments.get<std::string>();
  return arguments.is_null() ? "{}" : dump(arguments);
}

std::vector<ToolCall> calls_of(const Json& message, const std::string& where) {
  std::vector<ToolCall> calls;
  const auto list = message.find("tool_calls");
  if (list == message.end() || list->is_null()) return calls;
  if (!list->is_array()) refuse(where, where + ": want a list");
  for (const Json& call : *list) {
    const Json function = call.is_object() ? call.value("function", Json()) : Json();
    const std::string name = function.is_object() ? text_field(function, "name").value_or("") : "";
    if (name.empty()) refuse(where, where + ": want calls of functions, each with a name");
    calls.push_back({.id = text_field(call, "id").value_or(""),
                     .name = name,
                     .arguments = arguments_of(function)});
  }
  return calls;
}

Message message_of(const Json& message, const std::string& where) {
  if (!message.is_object()) refuse(where, where + ": want an object");
  const std::string role = text_field(message, "role").value_or("");
  const bool is_known = role == "system" || role == "developer" || role == "user" ||
                        role == "assistant" || role == "tool";
  if (!is_known)
    refuse(
        where + ".role",
        where + ".role: want system, developer, user, assistant or tool, found \"" + role + "\"");
  Message out = {.role = role,
                 .content = content_text(message.value("content", Json()), where + ".content")};
  if (role == "assistant") {
    out.reasoning = text_field(message, "reasoning_content")
                        .value_or(text_field(message, "thinking").value_or(""));
    out.tool_calls = calls_of(message, where + ".tool_calls");
  }
  if (role == "tool") {
    out.tool_call_id = text_field(message, "tool_call_id").value_or("");
    out.name = text_field(message, "name").value_or(text_field(message, "tool_name").value_or(""));
  }
  return out;
}

}  // namespace

const Json& list_of_messages(const Json& body) {
  const auto list = body.find("messages");
  if (list == body.end() || !list->is_array() || list->empty())
    refuse("messages", "messages: want a list with at least one message");
  return *list;
}

std::vector<Message> messages_of(const Json& body) {
  const Json& list = list_of_messages(body);
  std::vector<Message> messages;
  for (std::size_t i = 0; i < list.size(); ++i)
    messages.push_back(message_of(list[i], "messages[" + std::to_string(i) + "]"));
  return messages;
}

}  // namespace runnel::serve
