// Ollama's API: /api/chat, /api/generate, and what there is: /api/tags, /api/ps, /api/show,
// /api/version.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "serve/protocols/completion_answer.h"
#include "serve/protocols/demands.h"
#include "serve/protocols/guard_json.h"
#include "serve/protocols/model_file.h"
#include "serve/protocols/ollama_writer.h"
#include "serve/protocols/routes.h"

namespace runnel::serve {
namespace {

Json details(const Services& services) {
  const std::string family = services.model.architecture();
  const ModelFile file = file_of(services.model);
  return {{"parent_model", ""},
          {"format", "gguf"},
          {"family", family},
          {"families", Json::array({family})},
          {"parameter_size", file.n_parameters},
          {"quantization_level", file.quantization}};
}

std::string modified_at(const Services& services) {
  const std::int64_t changed = file_of(services.model).changed;
  return time_text(changed > 0 ? changed : services.started);
}

// `digest`: of the file; empty: it is not known yet, and not told.
Json model_json(const Services& services, const std::string& digest) {
  Json json = {{"name", services.model_id},
               {"model", services.model_id},
               {"modified_at", modified_at(services)},
               {"size", file_of(services.model).bytes},
               {"details", details(services)}};
  if (!digest.empty()) json["digest"] = digest;
  return json;
}

// The same as a model that is in memory: for ever.
Json loaded_json(const Services& services, const std::string& digest) {
  constexpr const char* kNever = "9999-12-31T23:59:59Z";
  Json json = model_json(services, digest);
  json["expires_at"] = kNever;
  json["size_vram"] = services.model.device().memory_bytes;
  json["context_length"] = services.model.resolve(services.hub.options().stream).window.value_or(0);
  return json;
}

AnswerOptions options_of(const Services& services, const Json& body, bool is_streamed) {
  const Json given = body.value("options", Json::object());
  if (!given.is_object() && !given.is_null()) refuse("options", "options: want an object");
  const Json options = given.is_object() ? given : Json::object();
  AnswerOptions answer = completion_options(services, options, is_streamed, {});
  refuse_missing_features(options, {{"mirostat", "want temperature, top_k, top_p or min_p"}});
  refuse_missing_features(
      body, {{"logprobs", "/v1/chat/completions has them"},
             {"top_logprobs", "/v1/chat/completions has them"},
             {"template", "the server is started with one, --chat-template"},
             {"context", "the stream keeps what was said; want /api/chat with its messages"}});
  if (const auto penalty = number_field(options, "repeat_penalty", 0.01, 100))
    answer.sampling.repetition_penalty = static_cast<float>(*penalty);
  if (const auto most = whole_field(options, "num_predict", -2, std::int64_t{1} << 40)) {
    answer.most_tokens.reset();  // negative: without end
    if (*most >= 0) answer.most_tokens = *most;
  }
  return answer;
}

// A request without anything to answer asks for the model to be loaded, which it is.
void send_loaded(const Services& services, const ReplyPtr& reply, bool is_chat) {
  Json body = {{"model", services.model_id},
               {"created_at", time_text()},
               {"done", true},
               {"done_reason", "load"}};
  if (is_chat) {
    body["message"] = {{"role", "assistant"}, {"content", ""}};
  } else {
    body["response"] = "";
  }
  send_json(reply, body);
}

void refuse_images(const Json& holder, const std::string& where) {
  const auto images = holder.find("images");
  if (images != holder.end() && !images->is_null() && !images->empty())
    refuse(where, where + ": this model reads text; images it cannot");
}

void answer(const Services& services, const ReplyPtr& reply, const Json& body, History history,
            bool is_chat) {
  const bool is_streamed = bool_field(body, "stream").value_or(true);
  AnswerOptions options = options_of(services, body, is_streamed);
  if (const auto guard = read_guard(body, services.hub.options().guard)) options.guard = guard;
  const Demands demands = demands_of_ollama(body);
  if (history.is_chat) demand(services, demands, history.setting, options);
  answer_history(services, reply, std::move(history), std::move(options),
                 std::make_shared<OllamaWriter>(reply, services.model_id, is_streamed, is_chat));
}

void chat(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const auto messages = body.find("messages");
  if (messages == body.end() || messages->is_null() || (messages->is_array() && messages->empty()))
    return send_loaded(services, reply, true);
  History history = History::of(messages_of(body));
  for (const Json& message : *messages) refuse_images(message, "messages.images");
  answer(services, reply, body, std::move(history), true);
}

void generate(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const std::string prompt = text_field(body, "prompt").value_or("");
  if (prompt.empty()) return send_loaded(services, reply, false);
  refuse_images(body, "images");
  refuse_missing_features(body, {{"suffix", "this server goes on with a text; it fills no gaps"}});
  History history;
  if (bool_field(body, "raw").value_or(false)) {
    history.tokens = services.model.tokenize(prompt);
  } else {
    history = History::of({{.role = "system", .content = text_field(body, "system").value_or("")},
                           {.role = "user", .content = prompt}});
  }
  answer(services, reply, body, std::move(history), false);
}

void show(const Services& services, const Request& request, const ReplyPtr& reply) {
  const Json body = parse_object(request.body);
  const std::string name =
      text_field(body, "model").value_or(text_field(body, "name").value_or(""));
  constexpr std::string_view kTag = ":latest";
  const bool is_tagged = name.ends_with(kTag);
  if (!services.is_model(is_tagged ? name.substr(0, name.size() - kTag.size()) : name))
    throw RequestError({.status = 404, .message = fmt::format("model '{}' not found", name)});
  const std::string architecture = services.model.architecture();
  const Json info = {{"general.architecture", architecture},
                     {"general.basename", services.model.name()},
                     {architecture + ".context_length", services.model.trained_context()}};
  send_json(reply, {{"modelfile", ""},
                    {"parameters", ""},
                    {"template", services.hub.chat().name()},
                    {"details", details(services)},
                    {"model_info", info},
                    {"capabilities", Json::array({"completion", "tools"})},
                    {"modified_at", modified_at(services)}});
}

void send_models(const Services& services, const ReplyPtr& reply,
                 Json (*json_of)(const Services&, const std::string&)) {
  services.model_digest([&services, reply, json_of](const std::string& digest) {
    answer_errors(
        reply,
        [&] {
          send_json(reply, {{"models", Json::array({json_of(services, digest)})}});
        },
        ollama_error_body);
  });
}

void tags(const Services& services, const Request&, const ReplyPtr& reply) {
  send_models(services, reply, model_json);
}

void running(const Services& services, const Request&, const ReplyPtr& reply) {
  send_models(services, reply, loaded_json);
}

void version(const Services&, const Request&, const ReplyPtr& reply) {
  send_json(reply, {{"version", RUNNEL_VERSION}});
}

}  // namespace

std::vector<Route> ollama_routes(const Services& services) {
  const auto route = [&services](const char* method, const char* path, RouteFunction function) {
    return route_to(services, method, path, function, ollama_error_body);
  };
  return {route("POST", "/api/chat", chat), route("POST", "/api/generate", generate),
          route("POST", "/api/show", show), route("GET", "/api/tags", tags),
          route("GET", "/api/ps", running), route("GET", "/api/version", version)};
}

}  // namespace runnel::serve
