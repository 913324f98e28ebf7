// POST /v1/completions: OpenAI's first protocol, text that goes on.
#include <nlohmann/json.hpp>

#include "serve/protocols/completion_answer.h"
#include "serve/protocols/errors.h"

namespace runnel::serve {
namespace {

class TextWriter final : public CompletionWriter {
 public:
  // `echo` is put before the text.
  TextWriter(ReplyPtr reply, const Model& model, const Telling& telling, std::string echo)
      : CompletionWriter(std::move(reply), telling.is_streamed),
        model_(model),
        telling_(telling),
        echo_(std::move(echo)) {}

 protected:
  std::vector<Json> first_pieces() override {
    if (echo_.empty()) return {};
    return {body_of(echo_, {}, nullptr)};
  }
  std::vector<Json> pieces(const Written& written) override {
    return {body_of(text_of(written), written.tokens, nullptr)};
  }
  std::vector<Json> last_pieces(const Ending& ending) override {
    std::vector<Json> pieces = {body_of("", {}, finish_reason(ending))};
    if (!telling_.has_usage) return pieces;
    Json last = object();
    last["choices"] = Json::array();
    last["usage"] = usage(ending);
    pieces.push_back(std::move(last));
    return pieces;
  }
  Json whole(const Ending& ending) override {
    Json body = body_of(echo_ + said().text, said().tokens, finish_reason(ending));
    body["usage"] = usage(ending);
    return body;
  }

 private:
  Json object() const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", telling_.model_id}};
  }
  Json body_of(const std::string& text, const std::vector<TokenInfo>& tokens, Json reason) {
    Json body = object();
    body["choices"] = {{{"index", 0},
                        {"text", text},
                        {"logprobs", log_probabilities(tokens)},
                        {"finish_reason", std::move(reason)}}};
    return body;
  }
  Json log_probabilities(const std::vector<TokenInfo>& tokens) {
    if (!telling_.has_log_probabilities || tokens.empty()) return nullptr;
    Json lists = {{"tokens", Json::array()},
                  {"token_logprobs", Json::array()},
                  {"top_logprobs", Json::array()},
                  {"text_offset", Json::array()}};
    for (const TokenInfo& info : tokens) {
      const std::string text = model_.token_text(info.token);
      lists["tokens"].push_back(text);
      lists["token_logprobs"].push_back(info.log_probability);
      Json top = Json::object();
      for (const auto& [token, value] : info.top) top[model_.token_text(token)] = value;
      lists["top_logprobs"].push_back(std::move(top));
      lists["text_offset"].push_back(offset_);
      offset_ += text.size();
    }
    return lists;
  }

  const Model& model_;
  Telling telling_;
  std::string echo_;
  std::size_t offset_ = 0;
  std::string id_ = random_id("cmpl-");
  std::int64_t created_ = unix_seconds();
};

// A text, or its tokens; a list of one of them too.
std::vector<Token> prompt_tokens(const Model& model, const Json& prompt) {
  if (prompt.is_string()) return model.tokenize(prompt.get<std::string>());
  if (!prompt.is_array() || prompt.empty())
    refuse("prompt", "prompt: want a text or a list of tokens");
  if (!prompt.front().is_number_integer()) {
    if (prompt.size() != 1)
      refuse("prompt", "prompt: this server continues one text in a request; want a list of one");
    return prompt_tokens(model, prompt.front());
  }
  std::vector<Token> tokens;
  for (const Json& item : prompt) {
    const bool is_token = item.is_number_integer() && item.get<std::int64_t>() >= 0 &&
                          item.get<std::int64_t>() < model.vocabulary_size();
    if (!is_token)
      refuse("prompt", "prompt: want tokens from 0 to " +
                           std::to_string(model.vocabulary_size() - 1) + ", found " + dump(item));
    tokens.push_back(item.get<Token>());
  }
  return tokens;
}

void complete_text(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const bool is_streamed = bool_field(body, "stream").value_or(false);
  AnswerOptions options = completion_options(services, body, is_streamed, {"max_tokens"});
  refuse_missing_features(body, {{"suffix", "this server goes on with a text; it fills no gaps"}});
  if (!body.contains("max_tokens")) options.most_tokens = 16;
  if (const auto n_top = whole_field(body, "logprobs", 0, 20)) {
    options.wants_log_probabilities = true;
    options.n_top = static_cast<int>(*n_top);
  }
  History history;
  history.tokens = prompt_tokens(services.model, body.value("prompt", Json("")));
  const bool echoes = bool_field(body, "echo").value_or(false);
  auto writer = std::make_shared<TextWriter>(
      reply, services.model, telling_of(services, body, options, is_streamed),
      echoes ? services.model.detokenize(history.tokens) : "");
  answer_history(services, reply, std::move(history), std::move(options), std::move(writer));
}

}  // namespace

std::vector<Route> completion_routes(const Services& services) {
  return {{"POST", "/v1/completions", [&services](const Request& request, const ReplyPtr& reply) {
             complete_text(services, request, reply);
           }}};
}

}  // namespace runnel::serve
