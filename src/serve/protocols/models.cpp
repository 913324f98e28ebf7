// What the server serves: /v1/models, /tokenize and /detokenize, and a plain refusal of
// embeddings.
#include <nlohmann/json.hpp>

#include "serve/protocols/errors.h"
#include "serve/protocols/json_body.h"
#include "serve/protocols/services.h"

namespace runnel::serve {
namespace {

Json model_json(const Services& services) {
  const Model& model = services.model;
  const StreamOptions stream = model.resolve(services.hub.options().stream);
  return {{"id", services.model_id},
          {"object", "model"},
          {"created", services.started},
          {"owned_by", "runnel"},
          {"runnel",
           {{"name", model.name()},
            {"architecture", model.architecture()},
            {"vocabulary", model.vocabulary_size()},
            {"trained_context", model.trained_context()},
            {"window", stream.window.value_or(0)},
            {"sinks", stream.sinks},
            {"stream_bytes", model.stream_bytes(stream)},
            {"chat_template", services.hub.chat().name()}}}};
}

void tokenize(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const std::string text =
      text_field(body, "content").value_or(text_field(body, "prompt").value_or(""));
  const bool add_bos = bool_field(body, "add_special").value_or(false);
  const bool parse_special = bool_field(body, "parse_special").value_or(false);
  const std::vector<Token> tokens = services.model.tokenize(text, add_bos, parse_special);
  Json answer = {{"tokens", tokens}, {"count", tokens.size()}};
  if (bool_field(body, "with_pieces").value_or(false)) {
    Json pieces = Json::array();
    for (const Token token : tokens)
      pieces.push_back({{"id", token}, {"piece", services.model.token_text(token)}});
    answer["tokens"] = pieces;
  }
  send_json(reply, answer);
}

void detokenize(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const auto list = body.find("tokens");
  if (list == body.end() || !list->is_array()) refuse("tokens", "tokens: want a list of tokens");
  std::vector<Token> tokens;
  for (const Json& item : *list) {
    if (!item.is_number_integer() || item.get<std::int64_t>() < 0 ||
        item.get<std::int64_t>() >= services.model.vocabulary_size())
      refuse("tokens", "tokens: want whole numbers from 0 to " +
                           std::to_string(services.model.vocabulary_size() - 1) + ", found " +
                           dump(item).substr(0, 80));
    tokens.push_back(item.get<Token>());
  }
  send_json(reply, {{"content", services.model.detokenize(tokens)}});
}

}  // namespace

void on_streams(const Services& services, const ReplyPtr& reply, std::function<void()> work,
                ErrorBody body) {
  const bool is_running = services.scheduler.post(
      [reply, body, work = std::move(work)] { answer_errors(reply, work, body); });
  const Fault stopping = {.status = 503, .code = "stopping", .message = "the server is stopping"};
  if (!is_running) send_error(reply, stopping, body);
}

std::vector<Route> model_routes(const Services& services) {
  const auto list = [&services](const Request&, const ReplyPtr& reply) {
    send_json(reply, {{"object", "list"}, {"data", Json::array({model_json(services)})}});
  };
  const auto one = [&services](const Request& request, const ReplyPtr& reply) {
    if (!services.is_model(request.parameter("id")))
      refuse_missing("model", request.parameter("id"));
    send_json(reply, model_json(services));
  };
  const auto embeddings = [](const Request&, const ReplyPtr&) {
    throw RequestError({.status = 501,
                        .code = "not_supported",
                        .message = "this server writes text; it makes no embeddings"});
  };
  return {{"GET", "/v1/models", list},
          {"GET", "/v1/models/{id}", one},
          {"POST", "/v1/embeddings", embeddings},
          {"POST", "/tokenize",
           [&services](const Request& request, const ReplyPtr& reply) {
             tokenize(services, request, reply);
           }},
          {"POST", "/detokenize", [&services](const Request& request, const ReplyPtr& reply) {
             detokenize(services, request, reply);
           }}};
}

}  // namespace runnel::serve
