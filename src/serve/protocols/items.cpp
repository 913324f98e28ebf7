#include "serve/protocols/items.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "serve/hub/tool_text.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

Json message_item(const std::string& role, const std::string& text) {
  return {{"id", random_id("msg_")},
          {"type", "message"},
          {"role", role},
          {"status", "completed"},
          {"content",
           {{{"type", role == "assistant" ? "output_text" : "input_text"}, {"text", text}}}}};
}

std::string wanted_text(const Json& given, const char* name, const std::string& where) {
  const auto text = text_field(given, name);
  if (!text || text->empty()) refuse(where + "." + name, where + "." + name + ": want a text");
  return *text;
}

Json call_item(const Json& given, const std::string& where) {
  const ToolCall call = {.id = wanted_text(given, "call_id", where),
                         .name = wanted_text(given, "name", where),
                         .arguments = text_field(given, "arguments").value_or("{}")};
  return output_call(random_id("fc_"), call, "completed");
}

Json result_item(const Json& given, const std::string& where) {
  return {{"id", random_id("fco_")},
          {"type", "function_call_output"},
          {"status", "completed"},
          {"call_id", wanted_text(given, "call_id", where)},
          {"output", content_text(given.value("output", Json()), where + ".output")}};
}

Json item_of(const Json& given, const std::string& where) {
  if (given.is_string()) return message_item("user", given.get<std::string>());
  if (!given.is_object()) refuse(where, where + ": want an item, found " + given.type_name());
  const std::string type = text_field(given, "type").value_or("message");
  if (type == "reasoning") return Json();
  if (type == "function_call") return call_item(given, where);
  if (type == "function_call_output") return result_item(given, where);
  if (type != "message")
    refuse(where, fmt::format("{}: this server reads messages, calls and their results; an item of "
                              "type \"{}\" it cannot",
                              where, type));
  const std::string role = text_field(given, "role").value_or("user");
  const bool is_known =
      role == "user" || role == "assistant" || role == "system" || role == "developer";
  if (!is_known)
    refuse(where + ".role",
           fmt::format("{}.role: want user, assistant, system or developer, found \"{}\"", where,
                       role));
  return message_item(role, content_text(given.value("content", Json()), where + ".content"));
}

}  // namespace

Json items_of(const Json& input, const std::string& where) {
  Json items = Json::array();
  if (input.is_null()) return items;
  if (input.is_string()) {
    items.push_back(message_item("user", input.get<std::string>()));
    return items;
  }
  if (!input.is_array())
    refuse(where, where + ": want a text or a list of items, found " + input.type_name());
  for (std::size_t i = 0; i < input.size(); ++i) {
    Json item = item_of(input[i], fmt::format("{}[{}]", where, i));
    if (!item.is_null()) items.push_back(std::move(item));
  }
  return items;
}

std::vector<Message> messages_of_items(const Json& items) {
  std::vector<Message> messages;
  for (const Json& item : items) {
    const std::string type = item.value("type", "");
    if (type == "message") {
      messages.push_back(
          {.role = item.value("role", ""), .content = content_text(item.at("content"), "content")});
    } else if (type == "function_call") {
      if (messages.empty() || messages.back().role != "assistant")
        messages.push_back({.role = "assistant"});
      messages.back().tool_calls.push_back({.id = item.value("call_id", ""),
                                            .name = item.value("name", ""),
                                            .arguments = item.value("arguments", "")});
    } else if (type == "function_call_output") {
      const std::string id = item.value("call_id", "");
      messages.push_back({.role = "tool",
                          .content = item.value("output", ""),
                          .tool_call_id = id,
                          .name = name_of_call(messages, id)});
    }
  }
  return messages;
}

std::vector<ToolCall> calls_among(const Json& items) {
  std::vector<ToolCall> calls;
  for (const Message& message : messages_of_items(items))
    calls.insert(calls.end(), message.tool_calls.begin(), message.tool_calls.end());
  return calls;
}

std::string take_system(std::vector<Message>& messages) {
  std::string system;
  while (!messages.empty() &&
         (messages.front().role == "system" || messages.front().role == "developer")) {
    system += (system.empty() ? "" : "\n\n") + messages.front().content;
    messages.erase(messages.begin());
  }
  return system;
}

std::vector<StoredItem> stored(const Json& items) {
  std::vector<StoredItem> list;
  for (const Json& item : items) list.push_back({item.at("id").get<std::string>(), dump(item)});
  return list;
}

Json list_of(const std::vector<StoredItem>& items, int limit) {
  const std::size_t n = std::min(items.size(), static_cast<std::size_t>(limit));
  Json data = Json::array();
  for (std::size_t i = 0; i < n; ++i) data.push_back(Json::parse(items[i].json));
  return {{"object", "list"},
          {"data", data},
          {"first_id", n > 0 ? Json(items[0].id) : Json()},
          {"last_id", n > 0 ? Json(items[n - 1].id) : Json()},
          {"has_more", items.size() > n}};
}

Page page_of(const Request& request) {
  Page page;
  page.after = request.query_value("after");
  page.is_descending = request.query_value("order") != "asc";
  const std::string limit = request.query_value("limit");
  if (limit.empty()) return page;
  const auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), page.limit);
  if (error != std::errc() || *end != '\0' || page.limit < 1 || page.limit > 100)
    refuse("limit", "limit: want 1 to 100, found " + limit);
  return page;
}

Json output_message(const std::string& id, const std::string& text, const char* status) {
  return {{"id", id},
          {"type", "message"},
          {"role", "assistant"},
          {"status", status},
          {"content",
           {{{"type", "output_text"},
             {"text", text},
             {"annotations", Json::array()},
             {"logprobs", Json::array()}}}}};
}

Json output_reasoning(const std::string& id, const std::string& text, const char* status) {
  return {{"id", id},
          {"type", "reasoning"},
          {"status", status},
          {"summary", Json::array()},
          {"content", {{{"type", "reasoning_text"}, {"text", text}}}}};
}

Json output_call(const std::string& id, const ToolCall& call, const char* status) {
  return {{"id", id},           {"type", "function_call"}, {"status", status},
          {"call_id", call.id}, {"name", call.name},       {"arguments", call.arguments}};
}

}  // namespace runnel::serve
