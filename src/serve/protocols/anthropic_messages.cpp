// POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "serve/hub/tool_text.h"
#include "serve/protocols/anthropic_writer.h"
#include "serve/protocols/completion_answer.h"
#include "serve/protocols/demands.h"
#include "serve/protocols/routes.h"

namespace runnel::serve {
namespace {

std::string type_of(const Json& block, const std::string& where) {
  if (!block.is_object()) refuse(where, where + ": want a block, an object");
  return text_field(block, "type").value_or("");
}

// The blocks of one message; results of tools are messages of their own.
class BlockReader {
 public:
  BlockReader(const std::string& role, std::vector<Message>& messages)
      : role_(role), messages_(messages) {}

  void read(const Json& content, const std::string& where) {
    if (!content.is_array()) {
      own().content = content_text(content, where);
      return;
    }
    for (std::size_t i = 0; i < content.size(); ++i)
      read_block(content[i], fmt::format("{}[{}]", where, i));
    if (content.empty()) own();
  }

 private:
  Message& own() {
    if (!has_own_) messages_.push_back({.role = role_});
    has_own_ = true;
    return messages_.back();
  }

  void read_block(const Json& block, const std::string& where) {
    const std::string type = type_of(block, where);
    if (type == "text") {
      own().content += text_field(block, "text").value_or("");
    } else if (type == "thinking" && role_ == "assistant") {
      own().reasoning += text_field(block, "thinking").value_or("");
    } else if (type == "redacted_thinking") {
    } else if (type == "tool_use" && role_ == "assistant") {
      const Json input = block.value("input", Json::object());
      own().tool_calls.push_back({.id = text_field(block, "id").value_or(""),
                                  .name = text_field(block, "name").value_or(""),
                                  .arguments = dump(input)});
    } else if (type == "tool_result" && role_ == "user") {
      const std::string id = text_field(block, "tool_use_id").value_or("");
      messages_.push_back(
          {.role = "tool",
           .content = content_text(block.value("content", Json()), where + ".content"),
           .tool_call_id = id,
           .name = name_of_call(messages_, id)});
      has_own_ = false;
    } else {
      refuse(where,
             fmt::format("{}: this model reads text, uses of tools and their results; a block "
                         "of type \"{}\" of {} it cannot",
                         where, type, role_));
    }
  }

  std::string role_;
  std::vector<Message>& messages_;
  bool has_own_ = false;
};

std::vector<Message> read_messages(const Json& body) {
  const Json& list = list_of_messages(body);
  std::vector<Message> messages;
  if (const std::string system = content_text(body.value("system", Json()), "system");
      !system.empty())
    messages.push_back({.role = "system", .content = system});
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Json& message = list[i];
    const std::string where = fmt::format("messages[{}]", i);
    if (!message.is_object()) refuse(where, where + ": want an object");
    const std::string role = text_field(message, "role").value_or("");
    if (role != "user" && role != "assistant" && role != "system")
      refuse(where + ".role", where + ".role: want user or assistant, found \"" + role + "\"");
    BlockReader(role, messages).read(message.value("content", Json()), where + ".content");
  }
  return messages;
}

void create(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const bool is_streamed = bool_field(body, "stream").value_or(false);
  AnswerOptions options = completion_options(services, body, is_streamed, {"max_tokens"});
  refuse_missing_features(body, {{"mcp_servers", "this server calls no other; want tools"},
                                 {"container", "this server runs no code"},
                                 {"context_management", "what leaves the window is forgotten"}});
  const std::vector<std::string> stops = texts_field(body, "stop_sequences");
  options.stops.insert(options.stops.end(), stops.begin(), stops.end());
  History history = History::of(read_messages(body));
  demand(services, demands_of_messages(body), history.setting, options);
  answer_history(services, reply, std::move(history), std::move(options),
                 std::make_shared<MessagesWriter>(reply, services.model_id, is_streamed));
}

void count(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  History history = History::of(read_messages(body));
  AnswerOptions ignored;
  demand(services, demands_of_messages(body), history.setting, ignored);
  send_json(reply, {{"input_tokens", count_tokens(services, history)}});
}

}  // namespace

std::vector<Route> anthropic_routes(const Services& services) {
  const auto route = [&services](const char* path, RouteFunction function) {
    return route_to(services, "POST", path, function, anthropic_error_body);
  };
  return {route("/v1/messages", create), route("/v1/messages/count_tokens", count)};
}

}  // namespace runnel::serve
