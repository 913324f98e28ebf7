#include "serve/hub/transcript.h"

#include <nlohmann/json.hpp>

#include "base/json_depth.h"

namespace runnel::serve {
namespace {

using Json = nlohmann::json;

std::string line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// Keys in one order, no space.
Json normal(const std::string& text) {
  if (is_nested_deeper(text)) return text;
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \n\t\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  return begin == text.npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

}  // namespace

std::string transcript(const Setting& setting) {
  return line({setting.system, normal(setting.tools), normal(setting.variables)});
}

std::string transcript(const Message& message) {
  const bool is_answer = message.role == "assistant";
  Json calls = Json::array();
  for (const ToolCall& call : message.tool_calls)
    calls.push_back({call.name, normal(call.arguments)});
  return line({message.role == "developer" ? "system" : message.role,
               is_answer ? trimmed(message.content) : message.content, calls});
}

}  // namespace runnel::serve
