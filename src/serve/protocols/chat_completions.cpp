// POST /v1/chat/completions: OpenAI's Chat Completions.
#include <nlohmann/json.hpp>

#include "serve/protocols/completion_answer.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

Json log_probability(const Model& model, Token token, float value) {
  const std::string text = token_text(model, token);
  Json bytes = Json::array();
  for (const char byte : text) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", text}, {"logprob", value}, {"bytes", bytes}};
}

class ChatWriter final : public CompletionWriter {
 public:
  struct Wanted {
    std::string model_id;
    bool is_streamed = false;
    bool has_usage = false;
    bool has_log_probabilities = false;
  };
  ChatWriter(ReplyPtr reply, const Model& model, Wanted wanted)
      : CompletionWriter(std::move(reply), wanted.is_streamed), model_(model), wanted_(wanted) {}

 protected:
  std::vector<Json> first_pieces() override {
    return {chunk({{"role", "assistant"}, {"content", ""}}, nullptr, nullptr)};
  }
  Json piece(const Written& written) override {
    return chunk({{"content", written.text}}, log_probabilities(written.tokens), nullptr);
  }
  std::vector<Json> last_pieces(const Ending& ending) override {
    std::vector<Json> pieces = {chunk(Json::object(), nullptr, finish_reason(ending))};
    if (!wanted_.has_usage) return pieces;
    Json last = object("chat.completion.chunk");
    last["choices"] = Json::array();
    last["usage"] = usage(ending);
    pieces.push_back(std::move(last));
    return pieces;
  }
  Json whole(const std::string& text, const std::vector<TokenInfo>& tokens,
             const Ending& ending) override {
    Json body = object("chat.completion");
    body["choices"] = {
        {{"index", 0},
         {"message", {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}}},
         {"logprobs", log_probabilities(tokens)},
         {"finish_reason", finish_reason(ending)}}};
    body["usage"] = usage(ending);
    return body;
  }

 private:
  Json object(const char* kind) const {
    return {{"id", id_}, {"object", kind}, {"created", created_}, {"model", wanted_.model_id}};
  }
  Json chunk(Json delta, Json log_probabilities, Json reason) const {
    Json body = object("chat.completion.chunk");
    body["choices"] = {{{"index", 0},
                        {"delta", std::move(delta)},
                        {"logprobs", std::move(log_probabilities)},
                        {"finish_reason", std::move(reason)}}};
    return body;
  }
  Json log_probabilities(const std::vector<TokenInfo>& tokens) const {
    if (!wanted_.has_log_probabilities) return nullptr;
    Json content = Json::array();
    for (const TokenInfo& info : tokens) {
      Json entry = log_probability(model_, info.token, info.log_probability);
      entry["top_logprobs"] = Json::array();
      for (const auto& [token, value] : info.top)
        entry["top_logprobs"].push_back(log_probability(model_, token, value));
      content.push_back(std::move(entry));
    }
    return {{"content", content}, {"refusal", nullptr}};
  }

  const Model& model_;
  Wanted wanted_;
  std::string id_ = random_id("chatcmpl-");
  std::int64_t created_ = unix_seconds();
};

std::vector<Message> messages_of(const Json& body) {
  const auto list = body.find("messages");
  if (list == body.end() || !list->is_array() || list->empty())
    refuse("messages", "messages: want a list with at least one message");
  std::vector<Message> messages;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Json& message = (*list)[i];
    const std::string where = "messages[" + std::to_string(i) + "]";
    if (!message.is_object()) refuse(where, where + ": want an object");
    const std::string role = text_field(message, "role").value_or("");
    const bool is_known = role == "system" || role == "developer" || role == "user" ||
                          role == "assistant" || role == "tool";
    if (!is_known)
      refuse(
          where + ".role",
          where + ".role: want system, developer, user, assistant or tool, found \"" + role + "\"");
    messages.push_back({role, content_text(message.value("content", Json()), where + ".content")});
  }
  return messages;
}

void refuse_what_there_is_not(const Json& body) {
  if (const auto tools = body.find("tools"); tools != body.end() && !tools->empty())
    refuse("tools", "tools: this server does not call functions");
  if (const auto format = body.find("response_format");
      format != body.end() && format->is_object()) {
    const std::string type = text_field(*format, "type").value_or("text");
    if (type != "text") refuse("response_format", "response_format: want text, found " + type);
  }
}

void complete(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  refuse_what_there_is_not(body);
  const bool is_streamed = bool_field(body, "stream").value_or(false);
  AnswerOptions options =
      completion_options(services, body, is_streamed, {"max_tokens", "max_completion_tokens"});
  options.wants_log_probabilities = bool_field(body, "logprobs").value_or(false);
  options.n_top = static_cast<int>(whole_field(body, "top_logprobs", 0, 20).value_or(0));
  ChatWriter::Wanted wanted = {.model_id = services.model_id,
                               .is_streamed = is_streamed,
                               .has_log_probabilities = options.wants_log_probabilities};
  if (const auto more = body.find("stream_options"); more != body.end() && more->is_object())
    wanted.has_usage = bool_field(*more, "include_usage").value_or(false);
  auto writer = std::make_shared<ChatWriter>(reply, services.model, wanted);
  answer_history(services, reply, History::of(services.hub.chat(), messages_of(body)),
                 std::move(options), std::move(writer));
}

}  // namespace

std::vector<Route> chat_completion_routes(const Services& services) {
  return {
      {"POST", "/v1/chat/completions", [&services](const Request& request, const ReplyPtr& reply) {
         complete(services, request, reply);
       }}};
}

}  // namespace runnel::serve
