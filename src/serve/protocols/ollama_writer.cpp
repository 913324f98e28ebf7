#include "serve/protocols/ollama_writer.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

namespace runnel::serve {
namespace {

// A call is told when it is whole; one that was cut off is not.
Json call_json(const ToolCall& call) {
  const Json arguments = arguments_object(call);
  if (arguments.is_null()) return nullptr;
  return {{"id", call.id}, {"function", {{"name", call.name}, {"arguments", arguments}}}};
}

std::int64_t nanoseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
}

}  // namespace

std::string ollama_error_body(const Fault& fault) { return dump({{"error", fault.message}}); }

std::string time_text() { return time_text(std::time(nullptr)); }

std::string time_text(std::int64_t unix_seconds) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_seconds)));
}

Json OllamaWriter::line(const std::string& text, const std::string& thoughts, Json calls) const {
  Json json = {{"model", model_id_}, {"created_at", time_text()}, {"done", false}};
  Json message = {{"role", "assistant"}, {"content", text}};
  if (!is_chat_) json["response"] = text;
  Json& holder = is_chat_ ? message : json;
  if (!thoughts.empty()) holder["thinking"] = thoughts;
  if (!calls.empty()) holder["tool_calls"] = std::move(calls);
  if (is_chat_) json["message"] = std::move(message);
  return json;
}

std::vector<Json> OllamaWriter::first_pieces() { return {}; }

std::vector<Json> OllamaWriter::pieces(const Written& written) {
  using Kind = AnswerEvent::Kind;
  std::vector<Json> list;
  for (const AnswerEvent& event : written.events) {
    if (event.kind == Kind::kText) list.push_back(line(event.text, "", Json::array()));
    if (event.kind == Kind::kReasoning) list.push_back(line("", event.text, Json::array()));
    if (event.kind != Kind::kCallEnd) continue;
    Json call = call_json(said().calls[static_cast<std::size_t>(event.index)]);
    if (!call.is_null()) list.push_back(line("", "", Json::array({std::move(call)})));
  }
  return list;
}

void OllamaWriter::finish(Json& last, const Ending& ending) const {
  const Clock::time_point now = Clock::now();
  const Clock::time_point first = written() == asked() ? now : written();
  last["done"] = true;
  last["done_reason"] = ending.finish == Finish::kLength ? "length" : "stop";
  last["total_duration"] = nanoseconds(now - asked());
  last["load_duration"] = 0;
  last["prompt_eval_count"] = ending.n_cached + ending.n_read;
  last["prompt_eval_duration"] = nanoseconds(first - asked());
  last["prompt_cached_count"] = n_cached(ending);
  last["eval_count"] = ending.n_written;
  last["eval_duration"] = nanoseconds(now - first);
}

std::vector<Json> OllamaWriter::last_pieces(const Ending& ending) {
  Json last = line("", "", Json::array());
  finish(last, ending);
  return {std::move(last)};
}

Json OllamaWriter::whole(const Ending& ending) {
  Json calls = Json::array();
  for (const ToolCall& call : said().calls) {
    if (Json json = call_json(call); !json.is_null()) calls.push_back(std::move(json));
  }
  Json last = line(said().text, said().reasoning, std::move(calls));
  finish(last, ending);
  return last;
}

}  // namespace runnel::serve
