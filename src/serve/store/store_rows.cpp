// The part of the store that tells its mirror of rows, and takes rows that came from one.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <nlohmann/json.hpp>

#include "runnel/error.h"
#include "serve/store/database.h"
#include "serve/store/store.h"

namespace runnel::serve {
namespace {

using Json = nlohmann::json;

std::string packed(const Json& json) {
  std::string bytes;
  Json::to_msgpack(json, bytes);
  return bytes;
}

Json unpacked(const std::string& name, const std::string& bytes) {
  Json json = Json::from_msgpack(bytes, true, false);
  if (!json.is_array()) throw Error("a row that cannot be read: " + name);
  return json;
}

std::int64_t number_of(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) throw Error(fmt::format("a row's number: found {}", text));
  return number;
}

StoredResponse response_of(const Json& j) {
  return {.id = j.at(0),
          .channel = j.at(1),
          .previous = j.at(2),
          .request = j.at(3),
          .status = j.at(4),
          .created = j.at(5),
          .input = j.at(6),
          .body = j.at(7),
          .asked = j.at(8),
          .begin = j.at(9),
          .dialogue = j.at(10),
          .read_until = j.at(11),
          .seed = j.at(12)};
}

StoredStream stream_of(const Json& j) {
  return {.id = j.at(0),
          .kind = j.at(1),
          .created = j.at(2),
          .sinks = j.at(3),
          .window = j.at(4),
          .dialogue = j.at(5),
          .is_begun = j.at(6),
          .has_snapshot = j.at(7),
          .head = j.at(8),
          .system = j.at(9),
          .shape = j.size() > 10 ? j.at(10).get<std::string>() : ""};
}

}  // namespace

StoredConversation conversation_of_row(const std::string& row) {
  const Json j = unpacked("conversation", row);
  return {j.at(0), j.at(1), j.at(2)};
}

void Store::put(const StoredConversation& c) {
  write(c);
  if (mirror_ == nullptr) return;
  mirror_->put(c.id, "conversation", packed({c.id, c.created, c.metadata}));
}

void Store::put(const StoredResponse& r) {
  write(r);
  if (mirror_ == nullptr) return;
  mirror_->put(r.channel, "response " + r.id,
               packed({r.id, r.channel, r.previous, r.request, r.status, r.created, r.input, r.body,
                       r.asked, r.begin, r.dialogue, r.read_until, r.seed}));
}

void Store::put(const StoredStream& s) {
  write(s);
  if (mirror_ == nullptr) return;
  mirror_->put(s.id, "stream",
               packed({s.id, s.kind, s.created, s.sinks, s.window, s.dialogue, s.is_begun,
                       s.has_snapshot, s.head, s.system, s.shape}));
}

void Store::add_event(const std::string& response, std::int64_t number, const std::string& event) {
  write_event(response, number, event);
  if (mirror_ == nullptr) return;
  mirror_->put(channel_of(response), fmt::format("event {} {}", response, number), event);
}

void Store::tell_item(const std::string& conversation, const std::string& id) {
  if (mirror_ == nullptr) return;
  std::unique_lock lock(database_->mutex);
  Json row;
  {
    Query found = database_->sqlite.query(
        "select json, created from items where conversation = ? and id = ?");
    if (!found.bind(conversation).bind(id).step()) return;
    row = {found.text(0), found.number(1)};
  }
  lock.unlock();
  mirror_->put(conversation, "item " + id, packed(row));
}

void Store::tell_dropped(const std::string& stream, const std::vector<std::string>& rows) {
  if (mirror_ != nullptr && !rows.empty() && !stream.empty()) mirror_->drop(stream, rows);
}

std::string Store::channel_of(const std::string& response) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query("select channel from responses where id = ?");
  return row.bind(response).step() ? row.text(0) : "";
}

std::vector<std::string> Store::event_rows(const std::string& response, std::int64_t end) {
  std::vector<std::string> rows;
  if (mirror_ == nullptr) return rows;
  const std::lock_guard lock(database_->mutex);
  Query row =
      database_->sqlite.query("select number from events where response = ? and number < ?");
  row.bind(response).bind(end);
  while (row.step()) rows.push_back(fmt::format("event {} {}", response, row.number(0)));
  return rows;
}

void Store::forget(const std::string& stream) {
  const std::lock_guard lock(database_->mutex);
  Sqlite& db = database_->sqlite;
  db.query("delete from events where response in (select id from responses where channel = ?)")
      .bind(stream)
      .run();
  for (const char* from : {"responses where channel", "items where conversation",
                           "conversations where id", "tokens where stream", "streams where id"})
    db.query(fmt::format("delete from {} = ?", from)).bind(stream).run();
}

void Store::take(const std::string& stream, const StreamRows& rows) {
  forget(stream);
  std::vector<std::pair<std::int64_t, StoredItem>> items;  // in the order in which they were said
  std::vector<std::pair<std::int64_t, StoredResponse>> responses;
  for (const auto& [name, value] : rows) {
    const std::size_t blank = name.find(' ');
    const std::string kind = name.substr(0, blank);
    const std::string rest = blank == std::string::npos ? "" : name.substr(blank + 1);
    if (kind == "event") {
      const std::size_t number = rest.find(' ');
      write_event(rest.substr(0, number), number_of(std::string_view(rest).substr(number + 1)),
                  value);
    } else if (kind == "tokens") {
      write_tokens(stream, number_of(rest), value);
    } else if (kind == "conversation") {
      write(conversation_of_row(value));
    } else if (const Json j = unpacked(name, value); kind == "item") {
      items.push_back({j.at(1), {rest, j.at(0)}});
    } else if (kind == "response") {
      responses.emplace_back(j.at(9), response_of(j));
    } else if (kind == "stream") {
      write(stream_of(j));
    }
  }
  const auto by_first = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::sort(items.begin(), items.end(), by_first);
  std::stable_sort(responses.begin(), responses.end(), by_first);
  for (const auto& [begin, response] : responses) write(response);
  const std::lock_guard lock(database_->mutex);
  for (const auto& [created, item] : items) write_item(stream, item, created);
}

}  // namespace runnel::serve
