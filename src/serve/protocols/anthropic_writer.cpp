#include "serve/protocols/anthropic_writer.h"

#include <nlohmann/json.hpp>

namespace runnel::serve {
namespace {

const char* stop_reason(const Ending& ending) {
  if (ending.finish == Finish::kLength) return "max_tokens";
  if (ending.finish == Finish::kStop && !ending.why.empty()) return "stop_sequence";
  return ending.n_calls > 0 ? "tool_use" : "end_turn";
}

Json stop_text(const Ending& ending) {
  const bool has_one = ending.finish == Finish::kStop && !ending.why.empty();
  return has_one ? Json(ending.why) : Json();
}

Json usage_json(std::int64_t n_prompt, std::int64_t n_cached, std::int64_t n_written) {
  return {{"input_tokens", n_prompt - n_cached},
          {"cache_read_input_tokens", n_cached},
          {"cache_creation_input_tokens", 0},
          {"output_tokens", n_written}};
}

Json use_block(const ToolCall& call) {
  Json input = arguments_object(call);
  if (input.is_null()) input = Json::object();
  return {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", input}};
}

}  // namespace

std::string anthropic_error_body(const Fault& fault) {
  std::string type = error_type(fault);
  if (fault.status == 404) type = "not_found_error";
  if (fault.status == 503) type = "overloaded_error";
  if (type == "server_error") type = "api_error";
  return dump({{"type", "error"}, {"error", {{"type", type}, {"message", fault.message}}}});
}

Json MessagesWriter::message(Json content) const {
  return {{"id", id_},
          {"type", "message"},
          {"role", "assistant"},
          {"model", model_id_},
          {"content", std::move(content)},
          {"stop_reason", nullptr},
          {"stop_sequence", nullptr}};
}

std::vector<Json> MessagesWriter::first_pieces() {
  Json begun = message(Json::array());
  begun["usage"] = usage_json(n_prompt(), n_cached(), 0);
  return {{{"type", "message_start"}, {"message", std::move(begun)}}};
}

void MessagesWriter::close(std::vector<Json>& pieces) {
  if (open_ == Block::kNone) return;
  open_ = Block::kNone;
  pieces.push_back({{"type", "content_block_stop"}, {"index", index_}});
}

void MessagesWriter::open(Block block, Json content, std::vector<Json>& pieces) {
  if (open_ == block && block != Block::kUse) return;
  close(pieces);
  open_ = block;
  ++index_;
  pieces.push_back(
      {{"type", "content_block_start"}, {"index", index_}, {"content_block", std::move(content)}});
}

Json MessagesWriter::delta(Json what) const {
  return {{"type", "content_block_delta"}, {"index", index_}, {"delta", std::move(what)}};
}

std::vector<Json> MessagesWriter::pieces(const Written& written) {
  using Kind = AnswerEvent::Kind;
  std::vector<Json> list;
  for (const AnswerEvent& event : written.events) {
    switch (event.kind) {
      case Kind::kText:
        open(Block::kText, {{"type", "text"}, {"text", ""}}, list);
        list.push_back(delta({{"type", "text_delta"}, {"text", event.text}}));
        break;
      case Kind::kReasoning:
        open(Block::kThinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}, list);
        list.push_back(delta({{"type", "thinking_delta"}, {"thinking", event.text}}));
        break;
      case Kind::kCallBegin:
        open(Block::kUse, use_block({.id = event.id, .name = event.name}), list);
        break;
      case Kind::kCallArguments:
        list.push_back(delta({{"type", "input_json_delta"}, {"partial_json", event.text}}));
        break;
      case Kind::kCallEnd:
        close(list);
        break;
    }
  }
  return list;
}

std::vector<Json> MessagesWriter::last_pieces(const Ending& ending) {
  std::vector<Json> list;
  close(list);
  const std::int64_t n = ending.n_cached + ending.n_read;
  list.push_back(
      {{"type", "message_delta"},
       {"delta", {{"stop_reason", stop_reason(ending)}, {"stop_sequence", stop_text(ending)}}},
       {"usage", usage_json(n, n_cached(ending), ending.n_written)}});
  list.push_back({{"type", "message_stop"}});
  return list;
}

Json MessagesWriter::whole(const Ending& ending) {
  Json content = Json::array();
  if (!said().reasoning.empty())
    content.push_back({{"type", "thinking"}, {"thinking", said().reasoning}, {"signature", ""}});
  if (!said().text.empty()) content.push_back({{"type", "text"}, {"text", said().text}});
  for (const ToolCall& call : said().calls) content.push_back(use_block(call));
  Json body = message(std::move(content));
  body["stop_reason"] = stop_reason(ending);
  body["stop_sequence"] = stop_text(ending);
  body["usage"] = usage_json(ending.n_cached + ending.n_read, n_cached(ending), ending.n_written);
  return body;
}

}  // namespace runnel::serve
