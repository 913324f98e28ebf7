#include "serve/protocols/response_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "serve/protocols/guard_json.h"
#include "serve/protocols/items.h"

namespace runnel::serve {
namespace {

Json log_probabilities(const Model& model, const std::vector<TokenInfo>& tokens) {
  Json list = Json::array();
  for (const TokenInfo& info : tokens) {
    Json entry = {{"token", model.token_text(info.token)}, {"logprob", info.log_probability}};
    entry["top_logprobs"] = Json::array();
    for (const auto& [token, value] : info.top)
      entry["top_logprobs"].push_back({{"token", model.token_text(token)}, {"logprob", value}});
    list.push_back(std::move(entry));
  }
  return list;
}

struct Outcome {
  const char* status;
  const char* event;
  const char* incomplete;  // reason; null: none
};

Outcome outcome_of(const Ending& ending) {
  switch (ending.finish) {
    case Finish::kStop:
      break;
    case Finish::kLength:
      return {"incomplete", "response.incomplete", "max_output_tokens"};
    case Finish::kCancelled:
      return {"cancelled", "response.incomplete", "cancelled"};
    case Finish::kSteered:
      return {"incomplete", "response.incomplete", "steered"};
    case Finish::kGuard:
      return {"incomplete", "response.incomplete", ending.why.c_str()};
    case Finish::kFailed:
      return {"failed", "response.failed", nullptr};
  }
  return {"completed", "response.completed", nullptr};
}

// An endless answer's text, as the response that has ended holds it, is its last part.
void forget_beginning(std::string& text) {
  constexpr std::size_t kMostText = 2 << 20;
  if (text.size() <= kMostText) return;
  std::size_t begin = text.size() - kMostText / 2;
  while ((text[begin] & 0xC0) == 0x80) ++begin;  // not within a character
  text.erase(0, begin);
}

}  // namespace

struct ResponseWriter::State {
  Json response;
  Json output = Json::array();  // items that are whole
};

ResponseWriter::ResponseWriter(const Services& services, std::shared_ptr<LiveResponse> live,
                               StoredResponse row, const Json& response, std::string conversation,
                               bool is_continued)
    : services_(services),
      live_(std::move(live)),
      row_(std::move(row)),
      conversation_(std::move(conversation)),
      is_continued_(is_continued),
      state_(std::make_unique<State>(State{response})) {}

ResponseWriter::~ResponseWriter() = default;

void ResponseWriter::event(const char* type, Json fields, const Place* place) {
  fields["type"] = type;
  fields["sequence_number"] = live_->number();
  if (place != nullptr) fields["runnel"] = place_json(*place);
  live_->add(server_event(type, fields));
}

void ResponseWriter::set_dialogue(DialogueState state) {
  row_.dialogue = static_cast<std::int64_t>(state);
  live_->store().put(row_);
}

void ResponseWriter::start() {
  event("response.created", {{"response", state_->response}}, nullptr);
}

void ResponseWriter::go_on(const std::vector<std::pair<std::int64_t, std::string>>& events,
                           std::int64_t from) {
  for (const auto& [number, event] : events) {
    const std::size_t data = event.find("data: ");
    const Json fields = Json::parse(event.substr(data + 6), nullptr, false);
    if (!fields.is_object()) continue;
    const std::string type = fields.value("type", "");
    if (type == "response.output_item.added") {
      const Json& item = fields.at("item");
      const std::string kind = item.value("type", "");
      restored_.push_back({.kind = kind == "message"     ? Item::Kind::kMessage
                                   : kind == "reasoning" ? Item::Kind::kReasoning
                                                         : Item::Kind::kCall,
                           .id = item.value("id", ""),
                           .call = {.id = item.value("call_id", "")},
                           .is_told = true});
    } else if (restored_.empty()) {
      continue;
    } else if (type == "response.output_item.done") {
      restored_.back().is_told_whole = true;
    } else if (type.ends_with(".delta")) {
      const std::string delta = fields.value("delta", "");
      if (fields.at("runnel").value("position", std::int64_t{0}) > from) {
        restored_.back().n_told += delta.size();
      } else {
        restored_.back().text += delta;
      }
    }
  }
}

void ResponseWriter::fail(const std::string& why) {
  ended({.finish = Finish::kFailed, .why = why}, {});
}

void ResponseWriter::began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t seed,
                           const Place& place) {
  row_.begin = n_cached;
  row_.read_until = n_cached + n_to_read;
  row_.seed = seed;
  live_->store().put(row_);
  keep_input();
  state_->response["status"] = "in_progress";
  state_->response["runnel"] = place_json(place);
  event("response.in_progress", {{"response", state_->response}}, &place);
}

// What was asked becomes a part of the conversation when it is read, behind what was written
// before.
void ResponseWriter::keep_input() {
  if (conversation_.empty()) return;
  Json items = Json::parse(row_.input);
  for (Json& item : items) item["runnel"] = {{"from", row_.begin}, {"to", row_.read_until}};
  services_.store.add_items(conversation_, stored(items));
}

Json ResponseWriter::json_of(const Item& item, const char* status) {
  if (item.kind == Item::Kind::kMessage) return output_message(item.id, item.text, status);
  if (item.kind == Item::Kind::kReasoning) return output_reasoning(item.id, item.text, status);
  return output_call(item.id, {item.call.id, item.call.name, item.text}, status);
}

void ResponseWriter::open(Item item, const Place& place) {
  if (is_open_) close("completed", place);
  const std::size_t index = items_.size();
  if (index < restored_.size() && restored_[index].kind == item.kind) {
    const std::string name = item.call.name;
    item = restored_[index];
    item.call.name = name;
  }
  items_.push_back(item);
  is_open_ = true;
  if (item.is_told) return;
  Json json = json_of(item, "in_progress");
  const Json part = item.kind == Item::Kind::kCall ? Json() : json["content"][0];
  if (!part.is_null()) json["content"] = Json::array();
  event("response.output_item.added", {{"output_index", index}, {"item", json}}, &place);
  if (part.is_null()) return;
  event("response.content_part.added",
        {{"output_index", index}, {"content_index", 0}, {"item_id", item.id}, {"part", part}},
        &place);
}

// A piece of a message, of thoughts, or of a call's arguments.
void ResponseWriter::add(Item::Kind kind, const AnswerEvent& piece,
                         const std::vector<TokenInfo>& tokens, const Place& place) {
  if (!is_open_ || items_.back().kind != kind) {
    const bool is_message = kind == Item::Kind::kMessage;
    open({.kind = kind, .id = random_id(is_message ? "msg_" : "rs_")}, place);
  }
  Item& item = items_.back();
  item.text += piece.text;
  item.n_written += piece.text.size();
  if (kind != Item::Kind::kCall) forget_beginning(item.text);
  if (item.n_written <= item.n_told) return;
  const std::size_t n_new = std::min(piece.text.size(), item.n_written - item.n_told);
  const std::string delta = piece.text.substr(piece.text.size() - n_new);
  Json fields = {{"output_index", items_.size() - 1}, {"item_id", item.id}, {"delta", delta}};
  if (kind == Item::Kind::kCall)
    return event("response.function_call_arguments.delta", std::move(fields), &place);
  fields["content_index"] = 0;
  if (kind == Item::Kind::kReasoning)
    return event("response.reasoning_text.delta", std::move(fields), &place);
  fields["logprobs"] = log_probabilities(services_.model, tokens);
  event("response.output_text.delta", std::move(fields), &place);
}

void ResponseWriter::wrote(const Written& written, const Place& place) {
  using Kind = AnswerEvent::Kind;
  for (const AnswerEvent& event : written.events) {
    switch (event.kind) {
      case Kind::kText:
        add(Item::Kind::kMessage, event, written.tokens, place);
        break;
      case Kind::kReasoning:
        add(Item::Kind::kReasoning, event, {}, place);
        break;
      case Kind::kCallBegin:
        open({.kind = Item::Kind::kCall,
              .id = random_id("fc_"),
              .call = {.id = event.id, .name = event.name}},
             place);
        break;
      case Kind::kCallArguments:
        add(Item::Kind::kCall, event, {}, place);
        break;
      case Kind::kCallEnd:
        close("completed", place);
        break;
    }
  }
}

void ResponseWriter::evicted(std::int64_t from, std::int64_t to, const Place& place) {
  event("runnel.evicted", {{"from", from}, {"to", to}}, &place);
}

void ResponseWriter::measured(const Guard::Measures& measures, const Place& place) {
  event("runnel.guard", {{"guard", guard_json(measures)}}, &place);
}

void ResponseWriter::noticed(const Notice& notice, const Place& place) {
  event("runnel.notice", notice_json(notice), &place);
}

void ResponseWriter::close(const char* status, const Place& place) {
  if (!std::exchange(is_open_, false)) return;
  const Item& item = items_.back();
  Json json = json_of(item, status);
  json["runnel"] = {{"from", item_begin_ < 0 ? row_.read_until : item_begin_},
                    {"to", place.position}};
  item_begin_ = place.position;
  state_->output.push_back(json);
  if (item.is_told_whole) return;
  const std::size_t index = items_.size() - 1;
  Json at = {{"output_index", index}, {"item_id", item.id}};
  Json done = at;
  if (item.kind == Item::Kind::kCall) {
    done["name"] = item.call.name;
    done["arguments"] = item.text;
    event("response.function_call_arguments.done", std::move(done), &place);
  } else {
    const bool is_message = item.kind == Item::Kind::kMessage;
    at["content_index"] = done["content_index"] = 0;
    done["text"] = item.text;
    if (is_message) done["logprobs"] = Json::array();
    event(is_message ? "response.output_text.done" : "response.reasoning_text.done",
          std::move(done), &place);
    at["part"] = json["content"][0];
    event("response.content_part.done", std::move(at), &place);
  }
  event("response.output_item.done", {{"output_index", index}, {"item", json}}, &place);
}

void ResponseWriter::ended(const Ending& ending, const Place& place) {
  try {
    finish(ending, place);
  } catch (const Error& error) {  // the disk; the client hears at least that it is over
    live_->tell(server_event("error", {{"type", "error"},
                                       {"sequence_number", live_->number()},
                                       {"message", error.what()},
                                       {"code", "server_error"},
                                       {"param", nullptr}}));
  }
  services_.responses.remove(row_.id);
  live_->end();
}

void ResponseWriter::finish(const Ending& ending, const Place& place) {
  const Outcome outcome = outcome_of(ending);
  const bool is_whole = ending.finish == Finish::kStop;
  if (items_.empty() && is_whole) open({.id = random_id("msg_")}, place);
  close(is_whole ? "completed" : "incomplete", place);
  if (!conversation_.empty()) services_.store.add_items(conversation_, stored(state_->output));
  Json& response = state_->response;
  response["output"] = state_->output;
  response["status"] = outcome.status;
  if (outcome.incomplete != nullptr)
    response["incomplete_details"] = {{"reason", outcome.incomplete}};
  if (ending.finish == Finish::kFailed)
    response["error"] = {{"code", "server_error"}, {"message", ending.why}};
  const std::int64_t n_input = ending.n_cached + ending.n_read;
  response["usage"] = {
      {"input_tokens", n_input},
      {"input_tokens_details", {{"cached_tokens", is_continued_ ? ending.n_cached : 0}}},
      {"output_tokens", ending.n_written},
      {"output_tokens_details", {{"reasoning_tokens", ending.n_reasoning}}},
      {"total_tokens", n_input + ending.n_written}};
  response["runnel"] = place_json(place);
  row_.status = outcome.status;
  if (&live_->store() == &services_.passing) row_.created = unix_seconds();  // counts from its end
  row_.asked.clear();
  row_.body = dump(response);
  live_->store().put(row_);
  event(outcome.event, {{"response", response}}, &place);
}

}  // namespace runnel::serve
