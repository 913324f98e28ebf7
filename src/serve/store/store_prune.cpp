// The part of the store that forgets, so that it does not grow for ever.
#include <algorithm>
#include <mutex>

#include "serve/store/database.h"
#include "serve/store/store.h"

namespace runnel::serve {
namespace {

constexpr std::int64_t kResponsesAtOnce = 32;
constexpr int kItemsAtOnce = 256;
constexpr int kMostBatches = 32;  // of one call: others wait for it
constexpr std::int64_t kMicroseconds = 1000000;

std::int64_t number_of(Sqlite& db, const std::string& sql) {
  Query row = db.query(sql);
  return row.step() ? row.number(0) : 0;
}

}  // namespace

std::int64_t Store::bytes() {
  const std::lock_guard lock(database_->mutex);
  Sqlite& db = database_->sqlite;
  const std::int64_t pages =
      number_of(db, "pragma page_count") - number_of(db, "pragma freelist_count");
  return pages * number_of(db, "pragma page_size");
}

// The oldest responses that have ended, made before `end` (seconds): a quarter of all at most, so
// that the newest stay where there are few.
std::size_t Store::drop_old_responses(std::int64_t end, std::vector<StoredResponse>& dropped) {
  std::vector<StoredResponse> oldest;
  {
    const std::lock_guard lock(database_->mutex);
    Sqlite& db = database_->sqlite;
    const std::int64_t quarter = (number_of(db, "select count(*) from responses") + 3) / 4;
    Query row = db.query(
        "select id, channel, created from responses where status not in ('queued', 'in_progress') "
        "and created < ?1 order by number limit ?2");
    row.bind(end).bind(std::min(quarter, kResponsesAtOnce));
    while (row.step())
      oldest.push_back({.id = row.text(0), .channel = row.text(1), .created = row.number(2)});
  }
  for (StoredResponse& one : oldest) {
    drop_response(one.id);
    dropped.push_back(std::move(one));
  }
  return oldest.size();
}

void Store::drop_responses(const std::string& prefix, std::int64_t end) {
  std::vector<std::string> ids;
  {
    const std::lock_guard lock(database_->mutex);
    Query row = database_->sqlite.query(
        "select id from responses where id >= ?1 and id < ?2 and status not in ('queued', "
        "'in_progress') and created < ?3");
    row.bind(prefix).bind(prefix + '\x7f').bind(end);
    while (row.step()) ids.push_back(row.text(0));
  }
  for (const std::string& id : ids) drop_response(id);
}

bool Store::drop_old_items(std::int64_t end) {
  std::vector<std::pair<std::string, std::string>> oldest;
  {
    const std::lock_guard lock(database_->mutex);
    Query row = database_->sqlite.query(
        "select conversation, id from items where created < ?1 order by number limit ?2");
    row.bind(end).bind(std::int64_t{kItemsAtOnce});
    while (row.step()) oldest.emplace_back(row.text(0), row.text(1));
  }
  for (const auto& [conversation, id] : oldest) drop_item(conversation, id);
  return !oldest.empty();
}

// The first half of the events of each response that is being written, where there are many.
bool Store::drop_first_events() {
  constexpr std::int64_t kFew = 512;
  std::vector<std::pair<std::string, std::int64_t>> ends;
  {
    const std::lock_guard lock(database_->mutex);
    Query row = database_->sqlite.query(
        "select response, min(number), max(number) from events where response in (select id from "
        "responses where status = 'in_progress') group by response");
    while (row.step()) {
      const std::int64_t n = row.number(2) - row.number(1);
      if (n > kFew) ends.emplace_back(row.text(0), row.number(1) + n / 2);
    }
  }
  for (const auto& [response, end] : ends) drop_events(response, end);
  return !ends.empty();
}

std::vector<StoredResponse> Store::prune(const Retention& retention, std::int64_t now) {
  std::vector<StoredResponse> dropped;
  if (retention.seconds > 0) {
    drop_old_responses(now - retention.seconds, dropped);
    drop_old_items((now - retention.seconds) * kMicroseconds);
  }
  for (int i = 0; i < kMostBatches && retention.bytes > 0 && bytes() > retention.bytes; ++i) {
    const std::size_t n = drop_old_responses(INT64_MAX, dropped);
    // Items as old as what has just gone; all, where no response is left.
    const std::int64_t end = n > 0 ? dropped.back().created * kMicroseconds : INT64_MAX;
    if (!drop_old_items(end) && n == 0 && !drop_first_events()) break;
  }
  return dropped;
}

}  // namespace runnel::serve
