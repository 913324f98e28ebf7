#include "serve/store/store.h"

#include <fmt/format.h>

#include <chrono>
#include <mutex>

#include "runnel/error.h"
#include "serve/store/database.h"

namespace runnel::serve {
namespace {

constexpr int kVersion = 3;

constexpr const char* kSchema = R"(
create table if not exists conversations(
  number integer primary key autoincrement, id text not null unique, created integer not null,
  metadata text not null);
create table if not exists items(
  number integer primary key autoincrement, conversation text not null, id text not null,
  json text not null, created integer not null default 0);
create unique index if not exists items_by_id on items(conversation, id);
create index if not exists items_by_conversation on items(conversation, number);
create table if not exists responses(
  number integer primary key autoincrement, id text not null unique, channel text not null,
  previous text not null, request text not null, status text not null, created integer not null,
  input text not null, body text not null, asked text not null, begin integer not null,
  read_until integer not null, seed integer not null, dialogue integer not null);
create index if not exists responses_by_request on responses(request);
create index if not exists responses_by_status on responses(status);
create table if not exists events(
  response text not null, number integer not null, event text not null,
  primary key(response, number)) without rowid;
create table if not exists streams(
  id text primary key, kind integer not null, created integer not null, sinks integer not null,
  window integer not null, dialogue integer not null, is_begun integer not null,
  has_snapshot integer not null, head text not null, system text not null,
  shape text not null default '') without rowid;
create table if not exists tokens(
  stream text not null, position integer not null, n integer not null, tokens blob not null,
  primary key(stream, position)) without rowid;
)";

// What version 1 did not have, and what version 2.
constexpr const char* kFromVersion1 =
    "alter table items add column created integer not null default 0;";
constexpr const char* kFromVersion2 =
    "alter table streams add column shape text not null default '';";

constexpr const char* kResponse = R"(
select id, channel, previous, request, status, created, input, body, asked, begin, read_until, seed,
  dialogue
from responses )";

constexpr const char* kPutResponse = R"(
insert into responses(id, channel, previous, request, status, created, input, body, asked, begin,
  read_until, seed, dialogue)
values(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
on conflict(id) do update set channel = ?2, status = ?5, created = ?6, input = ?7, body = ?8,
  asked = ?9, begin = ?10, read_until = ?11, seed = ?12, dialogue = ?13)";

StoredResponse response_of(const Query& row) {
  return {.id = row.text(0),
          .channel = row.text(1),
          .previous = row.text(2),
          .request = row.text(3),
          .status = row.text(4),
          .created = row.number(5),
          .input = row.text(6),
          .body = row.text(7),
          .asked = row.text(8),
          .begin = row.number(9),
          .dialogue = row.number(12),
          .read_until = row.number(10),
          .seed = static_cast<std::uint64_t>(row.number(11))};
}

std::int64_t microseconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

std::string path_of(const std::filesystem::path& folder) {
  if (folder.empty()) return ":memory:";
  return (folder / "runnel.sqlite").string();
}

}  // namespace

Store::Store(const std::filesystem::path& folder) {
  const std::string path = path_of(folder);
  database_ = std::make_unique<Database>(path);
  Sqlite& db = database_->sqlite;
  db.execute("pragma journal_mode = wal; pragma synchronous = normal; pragma busy_timeout = 5000;");
  std::int64_t found = 0;
  {
    Query version = db.query("pragma user_version");
    if (version.step()) found = version.number(0);
  }
  if (found > kVersion)
    throw Error(
        fmt::format("{}: want a store of version {} or before, found {}", path, kVersion, found));
  db.execute(fmt::format("begin immediate; {} {} {} pragma user_version = {}; commit;",
                         found == 1 ? kFromVersion1 : "",
                         found == 1 || found == 2 ? kFromVersion2 : "", kSchema, kVersion));
}

Store::~Store() = default;

void Store::write(const StoredConversation& c) {
  const std::lock_guard lock(database_->mutex);
  database_->sqlite
      .query(
          "insert into conversations(id, created, metadata) values(?1, ?2, ?3) on conflict(id) do "
          "update set metadata = ?3")
      .bind(c.id)
      .bind(c.created)
      .bind(c.metadata)
      .run();
}

std::optional<StoredConversation> Store::conversation(const std::string& id) {
  const std::lock_guard lock(database_->mutex);
  Query row =
      database_->sqlite.query("select id, created, metadata from conversations where id = ?");
  if (!row.bind(id).step()) return std::nullopt;
  return StoredConversation{row.text(0), row.number(1), row.text(2)};
}

std::vector<StoredConversation> Store::conversations(const Page& page) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(fmt::format(
      "select id, created, metadata from conversations where ?1 = '' or number {0} (select number "
      "from conversations where id = ?1) order by number {1} limit ?2",
      page.is_descending ? "<" : ">", page.is_descending ? "desc" : "asc"));
  row.bind(page.after).bind(page.limit);
  std::vector<StoredConversation> found;
  while (row.step()) found.push_back({row.text(0), row.number(1), row.text(2)});
  return found;
}

bool Store::drop_conversation(const std::string& id) {
  bool was_there = false;
  {
    const std::lock_guard lock(database_->mutex);
    Sqlite& db = database_->sqlite;
    db.query("delete from items where conversation = ?").bind(id).run();
    db.query("delete from conversations where id = ?").bind(id).run();
    was_there = db.n_changed() > 0;
  }
  if (mirror_ != nullptr) mirror_->drop_all(id);
  return was_there;
}

void Store::add_items(const std::string& conversation, const std::vector<StoredItem>& items) {
  {
    const std::lock_guard lock(database_->mutex);
    database_->sqlite.execute("begin");
    std::int64_t now = microseconds_now();
    for (const StoredItem& item : items) write_item(conversation, item, now++);
    database_->sqlite.execute("commit");
  }
  for (const StoredItem& item : items) tell_item(conversation, item.id);
}

// With the lock held.
void Store::write_item(const std::string& conversation, const StoredItem& item,
                       std::int64_t created) {
  database_->sqlite
      .query("insert or replace into items(conversation, id, json, created) values(?, ?, ?, ?)")
      .bind(conversation)
      .bind(item.id)
      .bind(item.json)
      .bind(created)
      .run();
}

void Store::copy_items(const std::string& from, const std::string& to) {
  std::unique_lock lock(database_->mutex);
  database_->sqlite
      .query(
          "insert into items(conversation, id, json, created) select ?2, id, json, created "
          "from items where conversation = ?1 order by number")
      .bind(from)
      .bind(to)
      .run();
  lock.unlock();
  if (mirror_ == nullptr) return;
  for (const StoredItem& item : items(to, {.limit = -1})) tell_item(to, item.id);
}

std::vector<StoredItem> Store::items(const std::string& conversation, const Page& page) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(fmt::format(
      "select id, json from items where conversation = ?1 and (?2 = '' or number {0} (select "
      "number from items where conversation = ?1 and id = ?2)) order by number {1} limit ?3",
      page.is_descending ? "<" : ">", page.is_descending ? "desc" : "asc"));
  row.bind(conversation).bind(page.after).bind(page.limit);
  std::vector<StoredItem> found;
  while (row.step()) found.push_back({row.text(0), row.text(1)});
  return found;
}

std::optional<StoredItem> Store::item(const std::string& conversation, const std::string& id) {
  const std::lock_guard lock(database_->mutex);
  Query row =
      database_->sqlite.query("select id, json from items where conversation = ? and id = ?");
  if (!row.bind(conversation).bind(id).step()) return std::nullopt;
  return StoredItem{row.text(0), row.text(1)};
}

void Store::update_item(const std::string& conversation, const StoredItem& item) {
  {
    const std::lock_guard lock(database_->mutex);
    database_->sqlite.query("update items set json = ? where conversation = ? and id = ?")
        .bind(item.json)
        .bind(conversation)
        .bind(item.id)
        .run();
  }
  tell_item(conversation, item.id);
}

bool Store::drop_item(const std::string& conversation, const std::string& id) {
  std::unique_lock lock(database_->mutex);
  Sqlite& db = database_->sqlite;
  db.query("delete from items where conversation = ? and id = ?").bind(conversation).bind(id).run();
  const bool was_there = db.n_changed() > 0;
  lock.unlock();
  tell_dropped(conversation, {"item " + id});
  return was_there;
}

void Store::write(const StoredResponse& r) {
  const std::lock_guard lock(database_->mutex);
  database_->sqlite.query(kPutResponse)
      .bind(r.id)
      .bind(r.channel)
      .bind(r.previous)
      .bind(r.request)
      .bind(r.status)
      .bind(r.created)
      .bind(r.input)
      .bind(r.body)
      .bind(r.asked)
      .bind(r.begin)
      .bind(r.read_until)
      .bind(static_cast<std::int64_t>(r.seed))
      .bind(r.dialogue)
      .run();
}

std::optional<StoredResponse> Store::response(const std::string& id) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(std::string(kResponse) + "where id = ?");
  if (!row.bind(id).step()) return std::nullopt;
  return response_of(row);
}

std::optional<StoredResponse> Store::response_to(const std::string& previous,
                                                 const std::string& channel,
                                                 const std::string& request) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(std::string(kResponse) +
                                      "where request = ?1 and previous = ?2 and (?3 = '' or "
                                      "channel = ?3) order by number desc limit 1");
  if (!row.bind(request).bind(previous).bind(channel).step()) return std::nullopt;
  return response_of(row);
}

std::vector<StoredResponse> Store::responses_with_status(const std::string& status) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(std::string(kResponse) + "where status = ?");
  row.bind(status);
  std::vector<StoredResponse> found;
  while (row.step()) found.push_back(response_of(row));
  return found;
}

bool Store::drop_response(const std::string& id) {
  const std::string channel = channel_of(id);
  std::vector<std::string> rows = event_rows(id, INT64_MAX);
  rows.push_back("response " + id);
  {
    const std::lock_guard lock(database_->mutex);
    Sqlite& db = database_->sqlite;
    db.query("delete from events where response = ?").bind(id).run();
    db.query("delete from responses where id = ?").bind(id).run();
  }
  tell_dropped(channel, rows);
  return !channel.empty();
}

void Store::write_event(const std::string& response, std::int64_t number,
                        const std::string& event) {
  const std::lock_guard lock(database_->mutex);
  database_->sqlite.query("insert or replace into events values(?, ?, ?)")
      .bind(response)
      .bind(number)
      .bind(event)
      .run();
}

void Store::drop_events(const std::string& response, std::int64_t end) {
  const std::vector<std::string> rows = event_rows(response, end);
  {
    const std::lock_guard lock(database_->mutex);
    database_->sqlite.query("delete from events where response = ? and number < ?")
        .bind(response)
        .bind(end)
        .run();
  }
  if (!rows.empty()) tell_dropped(channel_of(response), rows);
}

std::int64_t Store::n_events(const std::string& response) {
  const std::lock_guard lock(database_->mutex);
  Query row =
      database_->sqlite.query("select coalesce(max(number) + 1, 0) from events where response = ?");
  return row.bind(response).step() ? row.number(0) : 0;
}

std::vector<std::pair<std::int64_t, std::string>> Store::events(const std::string& response,
                                                                std::int64_t first,
                                                                std::int64_t end,
                                                                std::int64_t most) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(
      "select number, event from events where response = ? and number >= ? and number < ? "
      "order by number limit ?");
  row.bind(response).bind(first).bind(end).bind(most);
  std::vector<std::pair<std::int64_t, std::string>> found;
  while (row.step()) found.emplace_back(row.number(0), row.text(1));
  return found;
}

}  // namespace runnel::serve
