#include "serve/protocols/response_writer.h"

#include <nlohmann/json.hpp>

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
};

ResponseWriter::ResponseWriter(const Services& services, std::shared_ptr<LiveResponse> live,
                               StoredResponse row, const Json& response, std::string conversation,
                               bool is_continued)
    : services_(services),
      live_(std::move(live)),
      row_(std::move(row)),
      conversation_(std::move(conversation)),
      is_continued_(is_continued),
      message_id_(random_id("msg_")),
      state_(std::make_unique<State>(State{response})) {}

ResponseWriter::~ResponseWriter() = default;

void ResponseWriter::event(const char* type, Json fields, const Place* place) {
  fields["type"] = type;
  fields["sequence_number"] = live_->number();
  if (place != nullptr) fields["runnel"] = place_json(*place);
  live_->add(server_event(type, fields));
}

void ResponseWriter::start() {
  event("response.created", {{"response", state_->response}}, nullptr);
}

std::string ResponseWriter::go_on(const std::vector<std::pair<std::int64_t, std::string>>& events,
                                  std::int64_t from) {
  std::string shown;
  for (const auto& [number, event] : events) {
    const std::size_t data = event.find("data: ");
    const Json fields = Json::parse(event.substr(data + 6), nullptr, false);
    const std::string type = fields.is_object() ? fields.value("type", "") : "";
    if (type == "response.output_text.delta") {
      const std::string delta = fields.value("delta", "");
      text_ += delta;
      if (fields.at("runnel").value("position", std::int64_t{0}) > from) shown += delta;
    }
    if (type != "response.content_part.added") continue;
    message_id_ = fields.value("item_id", message_id_);
    is_open_ = true;
  }
  return shown;
}

void ResponseWriter::fail(const std::string& why) {
  ended({.finish = Finish::kFailed, .why = why}, {});
}

void ResponseWriter::began(std::int64_t n_cached, std::int64_t n_to_read, std::uint64_t seed,
                           const Place& place) {
  row_.begin = n_cached;
  row_.read_until = n_cached + n_to_read;
  row_.seed = seed;
  services_.store.put(row_);
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

void ResponseWriter::open_message(const Place& place) {
  if (std::exchange(is_open_, true)) return;
  Json item = output_message(message_id_, "", "in_progress");
  const Json part = item["content"][0];
  item["content"] = Json::array();
  event("response.output_item.added", {{"output_index", 0}, {"item", item}}, &place);
  event("response.content_part.added",
        {{"output_index", 0}, {"content_index", 0}, {"item_id", message_id_}, {"part", part}},
        &place);
}

void ResponseWriter::wrote(const Written& written, const Place& place) {
  open_message(place);
  text_ += written.text;
  forget_beginning(text_);
  event("response.output_text.delta",
        {{"output_index", 0},
         {"content_index", 0},
         {"item_id", message_id_},
         {"delta", written.text},
         {"logprobs", log_probabilities(services_.model, written.tokens)}},
        &place);
}

void ResponseWriter::evicted(std::int64_t from, std::int64_t to, const Place& place) {
  event("runnel.evicted", {{"from", from}, {"to", to}}, &place);
}

void ResponseWriter::measured(const Guard::Measures& measures, const Place& place) {
  event("runnel.guard", {{"guard", guard_json(measures)}}, &place);
}

void ResponseWriter::noticed(const Notice& notice, const Place& place) {
  event("runnel.notice",
        {{"kind", name_of(notice.trouble)},
         {"action", name_of(notice.action)},
         {"message", notice.text}},
        &place);
}

void ResponseWriter::close_message(const char* status, const Place& place) {
  open_message(place);
  Json item = output_message(message_id_, text_, status);
  item["runnel"] = {{"from", row_.read_until}, {"to", place.position}};
  const Json at = {{"output_index", 0}, {"content_index", 0}, {"item_id", message_id_}};
  Json done = at;
  done["text"] = text_;
  done["logprobs"] = Json::array();
  event("response.output_text.done", std::move(done), &place);
  Json part = at;
  part["part"] = item["content"][0];
  event("response.content_part.done", std::move(part), &place);
  event("response.output_item.done", {{"output_index", 0}, {"item", item}}, &place);
  state_->response["output"] = Json::array({item});
  if (!conversation_.empty()) services_.store.add_items(conversation_, stored(Json::array({item})));
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
  if (is_open_ || is_whole) close_message(is_whole ? "completed" : "incomplete", place);
  Json& response = state_->response;
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
      {"output_tokens_details", {{"reasoning_tokens", 0}}},
      {"total_tokens", n_input + ending.n_written}};
  response["runnel"] = place_json(place);
  row_.status = outcome.status;
  row_.asked.clear();
  row_.body = dump(response);
  services_.store.put(row_);
  event(outcome.event, {{"response", response}}, &place);
}

}  // namespace runnel::serve
