// POST /v1/chat/completions: OpenAI's Chat Completions.
#include <nlohmann/json.hpp>

#include "serve/protocols/completion_answer.h"
#include "serve/protocols/demands.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

Json log_probability(const Model& model, Token token, float value) {
  const std::string text = model.token_text(token);
  Json bytes = Json::array();
  for (const char byte : text) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", text}, {"logprob", value}, {"bytes", bytes}};
}

class ChatWriter final : public CompletionWriter {
 public:
  ChatWriter(ReplyPtr reply, const Model& model, const Telling& telling)
      : CompletionWriter(std::move(reply), telling.is_streamed), model_(model), telling_(telling) {}

 protected:
  std::vector<Json> first_pieces() override {
    return {chunk({{"role", "assistant"}, {"content", ""}}, nullptr, nullptr)};
  }
  std::vector<Json> pieces(const Written& written) override {
    std::vector<Json> list;
    for (const AnswerEvent& event : written.events) {
      Json delta = delta_of(event);
      if (!delta.is_null()) list.push_back(chunk(std::move(delta), nullptr, nullptr));
    }
    if (!list.empty()) list.front()["choices"][0]["logprobs"] = log_probabilities(written.tokens);
    return list;
  }
  std::vector<Json> last_pieces(const Ending& ending) override {
    std::vector<Json> pieces = {chunk(Json::object(), nullptr, finish_reason(ending))};
    if (!telling_.has_usage) return pieces;
    Json last = object("chat.completion.chunk");
    last["choices"] = Json::array();
    last["usage"] = usage(ending);
    pieces.push_back(std::move(last));
    return pieces;
  }
  Json whole(const Ending& ending) override {
    const bool has_calls = !said().calls.empty();
    Json message = {{"role", "assistant"}, {"content", said().text}, {"refusal", nullptr}};
    if (has_calls && said().text.empty()) message["content"] = nullptr;
    if (!said().reasoning.empty()) message["reasoning_content"] = said().reasoning;
    for (const ToolCall& call : said().calls)
      message["tool_calls"].push_back(
          {{"id", call.id},
           {"type", "function"},
           {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    Json body = object("chat.completion");
    body["choices"] = {{{"index", 0},
                        {"message", std::move(message)},
                        {"logprobs", log_probabilities(said().tokens)},
                        {"finish_reason", finish_reason(ending)}}};
    body["usage"] = usage(ending);
    return body;
  }

 private:
  Json object(const char* kind) const {
    return {{"id", id_}, {"object", kind}, {"created", created_}, {"model", telling_.model_id}};
  }
  Json chunk(Json delta, Json log_probabilities, Json reason) const {
    Json body = object("chat.completion.chunk");
    body["choices"] = {{{"index", 0},
                        {"delta", std::move(delta)},
                        {"logprobs", std::move(log_probabilities)},
                        {"finish_reason", std::move(reason)}}};
    return body;
  }
  static Json delta_of(const AnswerEvent& event) {
    using Kind = AnswerEvent::Kind;
    switch (event.kind) {
      case Kind::kText:
        return {{"content", event.text}};
      case Kind::kReasoning:
        return {{"reasoning_content", event.text}};
      case Kind::kCallBegin: {
        const Json function = {{"name", event.name}, {"arguments", ""}};
        return call_delta({{"index", event.index},
                           {"id", event.id},
                           {"type", "function"},
                           {"function", function}});
      }
      case Kind::kCallArguments:
        return call_delta({{"index", event.index}, {"function", {{"arguments", event.text}}}});
      case Kind::kCallEnd:
        break;
    }
    return nullptr;
  }
  static Json call_delta(Json call) { return {{"tool_calls", Json::array({std::move(call)})}}; }
  Json log_probabilities(const std::vector<TokenInfo>& tokens) const {
    if (!telling_.has_log_probabilities) return nullptr;
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
  Telling telling_;
  std::string id_ = random_id("chatcmpl-");
  std::int64_t created_ = unix_seconds();
};

// What asks for something else than text.
void refuse_other_media(const Json& body) {
  refuse_missing_features(
      body, {{"functions", "want them as tools"},
             {"function_call", "want tool_choice"},
             {"audio", "this server writes text"},
             {"web_search_options", "this server searches nothing; give it a tool that does"}});
  for (const std::string& kind : texts_field(body, "modalities")) {
    if (kind != "text")
      refuse("modalities", "modalities: this server writes text, found \"" + kind + "\"");
  }
}

void complete_chat(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  refuse_other_media(body);
  const bool is_streamed = bool_field(body, "stream").value_or(false);
  AnswerOptions options =
      completion_options(services, body, is_streamed, {"max_tokens", "max_completion_tokens"});
  options.wants_log_probabilities = bool_field(body, "logprobs").value_or(false);
  options.n_top = static_cast<int>(whole_field(body, "top_logprobs", 0, 20).value_or(0));
  auto writer = std::make_shared<ChatWriter>(reply, services.model,
                                             telling_of(services, body, options, is_streamed));
  History history = History::of(messages_of(body));
  demand(services, demands_of_chat(body), history.setting, options);
  answer_history(services, reply, std::move(history), std::move(options), std::move(writer));
}

}  // namespace

std::vector<Route> chat_completion_routes(const Services& services) {
  return {
      {"POST", "/v1/chat/completions", [&services](const Request& request, const ReplyPtr& reply) {
         complete_chat(services, request, reply);
       }}};
}

}  // namespace runnel::serve
