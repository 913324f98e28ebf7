#include "serve/protocols/completion_writer.h"

#include <nlohmann/json.hpp>

#include "serve/protocols/guard_json.h"

namespace runnel::serve {

void CompletionWriter::began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t,
                             const Place& place) {
  is_begun_ = true;
  n_held_ = n_cached;
  n_prompt_ = n_cached + n_to_read;
  if (!is_streamed_) return;
  switch (wire_) {
    case Wire::kEvents:
      reply_->begin("text/event-stream", ": reading\n\n");
      break;
    case Wire::kNamedEvents:
      reply_->begin("text/event-stream", "event: ping\ndata: {\"type\": \"ping\"}\n\n");
      break;
    case Wire::kLines:
      reply_->begin("application/x-ndjson", "");
      break;
  }
  for (Json& first : first_pieces()) send(std::move(first), place);
}

void CompletionWriter::wrote(const Written& written, const Place& place) {
  using Kind = AnswerEvent::Kind;
  if (written_ == asked_) written_ = Clock::now();
  for (const AnswerEvent& event : written.events) {
    if (event.kind == Kind::kText && !is_streamed_) said_.text += event.text;
    if (event.kind == Kind::kReasoning && !is_streamed_) said_.reasoning += event.text;
    if (event.kind == Kind::kCallBegin) said_.calls.push_back({.id = event.id, .name = event.name});
    if (event.kind == Kind::kCallArguments) said_.calls.back().arguments += event.text;
  }
  if (is_streamed_) {
    for (Json& one : pieces(written)) send(std::move(one), place);
    return;
  }
  said_.tokens.insert(said_.tokens.end(), written.tokens.begin(), written.tokens.end());
}

void CompletionWriter::evicted(std::int64_t from, std::int64_t to, const Place&) {
  if (evicted_from_ < 0) evicted_from_ = from;
  evicted_to_ = to;
}

void CompletionWriter::measured(const Guard::Measures& measures, const Place&) {
  measures_ = measures;
}

void CompletionWriter::noticed(const Notice& notice, const Place&) { notices_.push_back(notice); }

void CompletionWriter::ended(const Ending& ending, const Place& place) {
  if (ending.finish == Finish::kFailed) {
    const Fault fault = {.status = 500, .message = ending.why};
    if (!is_streamed_ || !is_begun_) return send_error(reply_, fault, error_body_);
    const std::string body = error_body_(fault);
    if (wire_ == Wire::kLines) {
      reply_->write(body + "\n");
    } else {
      reply_->write((wire_ == Wire::kNamedEvents ? "event: error\n" : "") + ("data: " + body) +
                    "\n\n");
    }
    return reply_->end();
  }
  if (ending.finish == Finish::kGuard) stopped_by_ = ending.why;
  if (!is_streamed_) {
    Json body = whole(ending);
    body["runnel"] = told(place);
    return send_json(reply_, body);
  }
  for (Json& last : last_pieces(ending)) send(std::move(last), place);
  if (wire_ == Wire::kEvents) reply_->write("data: [DONE]\n\n");
  reply_->end();
}

void CompletionWriter::send(Json piece, const Place& place) {
  piece["runnel"] = told(place);
  if (wire_ == Wire::kLines) return reply_->write(dump(piece) + "\n");
  const std::string name = wire_ == Wire::kNamedEvents ? piece.value("type", "") : "";
  reply_->write(server_event(name, piece));
}

Json CompletionWriter::told(const Place& place) {
  Json json = place_json(place);
  if (evicted_from_ >= 0) json["evicted_now"] = {evicted_from_, evicted_to_};
  if (measures_) json["guard"] = guard_json(*measures_);
  for (const Notice& notice : notices_) json["notices"].push_back(notice_json(notice));
  if (!stopped_by_.empty()) json["stopped_by"] = stopped_by_;
  evicted_from_ = evicted_to_ = -1;
  measures_.reset();
  notices_.clear();
  return json;
}

Json CompletionWriter::usage(const Ending& ending) const {
  const std::int64_t n = ending.n_cached + ending.n_read;
  return {{"prompt_tokens", n},
          {"completion_tokens", ending.n_written},
          {"total_tokens", n + ending.n_written},
          {"prompt_tokens_details", {{"cached_tokens", n_cached(ending)}}},
          {"completion_tokens_details", {{"reasoning_tokens", ending.n_reasoning}}}};
}

std::string text_of(const Written& written) {
  std::string text;
  for (const AnswerEvent& event : written.events) {
    if (event.kind == AnswerEvent::Kind::kText) text += event.text;
  }
  return text;
}

const char* finish_reason(const Ending& ending) {
  if (ending.finish == Finish::kLength || ending.finish == Finish::kCancelled) return "length";
  return ending.n_calls > 0 ? "tool_calls" : "stop";
}

}  // namespace runnel::serve
