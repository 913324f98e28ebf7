// The part of the store that knows where streams stand.
#include <cstring>
#include <mutex>

#include "serve/store/database.h"
#include "serve/store/store.h"

namespace runnel::serve {
namespace {

std::string_view bytes_of(std::span<const Token> tokens) {
  return {reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()};
}

std::vector<Token> tokens_of(const std::string& bytes) {
  std::vector<Token> tokens(bytes.size() / sizeof(Token));
  if (!tokens.empty()) std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(Token));
  return tokens;
}

constexpr const char* kStream =
    "select id, kind, created, sinks, window, dialogue, is_begun, has_snapshot, head, system, "
    "shape from streams";

StoredStream stream_of(const Query& row) {
  return {.id = row.text(0),
          .kind = row.number(1),
          .created = row.number(2),
          .sinks = row.number(3),
          .window = row.number(4),
          .dialogue = row.number(5),
          .is_begun = row.number(6) != 0,
          .has_snapshot = row.number(7) != 0,
          .head = row.text(8),
          .system = row.text(9),
          .shape = row.text(10)};
}

std::string token_row(std::int64_t position) { return "tokens " + std::to_string(position); }

}  // namespace

void Store::write(const StoredStream& s) {
  const std::lock_guard lock(database_->mutex);
  database_->sqlite.query("insert or replace into streams values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .bind(s.id)
      .bind(s.kind)
      .bind(s.created)
      .bind(s.sinks)
      .bind(s.window)
      .bind(s.dialogue)
      .bind(std::int64_t{s.is_begun})
      .bind(std::int64_t{s.has_snapshot})
      .bind(s.head)
      .bind(s.system)
      .bind(s.shape)
      .run();
}

std::vector<StoredStream> Store::streams() {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(kStream);
  std::vector<StoredStream> found;
  while (row.step()) found.push_back(stream_of(row));
  return found;
}

std::optional<StoredStream> Store::stream(const std::string& id) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(std::string(kStream) + " where id = ?");
  if (!row.bind(id).step()) return std::nullopt;
  return stream_of(row);
}

void Store::drop_stream(const std::string& id) {
  {
    const std::lock_guard lock(database_->mutex);
    database_->sqlite.query("delete from tokens where stream = ?").bind(id).run();
    database_->sqlite.query("delete from streams where id = ?").bind(id).run();
  }
  if (mirror_ != nullptr) mirror_->drop_all(id);
}

void Store::add_tokens(const std::string& stream, std::int64_t position,
                       std::span<const Token> tokens) {
  const std::string bytes(bytes_of(tokens));
  write_tokens(stream, position, bytes);
  if (mirror_ != nullptr) mirror_->put(stream, token_row(position), bytes);
}

void Store::write_tokens(const std::string& stream, std::int64_t position,
                         const std::string& bytes) {
  const std::lock_guard lock(database_->mutex);
  database_->sqlite.query("insert or replace into tokens values(?, ?, ?, ?)")
      .bind(stream)
      .bind(position)
      .bind(static_cast<std::int64_t>(bytes.size() / sizeof(Token)))
      .bind_blob(bytes)
      .run();
}

std::vector<Token> Store::tokens(const std::string& stream, std::int64_t from) {
  const std::lock_guard lock(database_->mutex);
  Query row = database_->sqlite.query(
      "select position, tokens from tokens where stream = ?1 and position + n > ?2 order by "
      "position");
  row.bind(stream).bind(from);
  std::vector<Token> all;
  while (row.step()) {
    const std::vector<Token> some = tokens_of(row.text(1));
    const auto n_before = static_cast<std::ptrdiff_t>(
        std::max<std::int64_t>(0, from - row.number(0)));  // in the snapshot already
    all.insert(all.end(), some.begin() + n_before, some.end());
  }
  return all;
}

std::int64_t Store::begin_of_tokens(const std::string& stream) {
  const std::lock_guard lock(database_->mutex);
  Query row =
      database_->sqlite.query("select coalesce(min(position), 0) from tokens where stream = ?");
  return row.bind(stream).step() ? row.number(0) : 0;
}

std::int64_t Store::end_of_tokens(const std::string& stream) {
  const std::lock_guard lock(database_->mutex);
  Query row =
      database_->sqlite.query("select coalesce(max(position + n), 0) from tokens where stream = ?");
  return row.bind(stream).step() ? row.number(0) : 0;
}

void Store::drop_tokens_before(const std::string& stream, std::int64_t position) {
  drop_tokens(stream, "stream = ?1 and position < ?2 and position + n <= ?2", position);
}

void Store::mark_position(const std::string& stream, std::int64_t position) {
  bool is_new = false;
  {
    const std::lock_guard lock(database_->mutex);
    database_->sqlite.query("insert or ignore into tokens values(?, ?, 0, x'')")
        .bind(stream)
        .bind(position)
        .run();
    is_new = database_->sqlite.n_changed() > 0;
  }
  if (is_new && mirror_ != nullptr) mirror_->put(stream, token_row(position), "");
}

void Store::drop_tokens_from(const std::string& stream, std::int64_t position) {
  drop_tokens(stream, "stream = ?1 and position >= ?2", position);
}

void Store::drop_tokens(const std::string& stream, const char* condition, std::int64_t position) {
  std::vector<std::string> rows;
  {
    const std::lock_guard lock(database_->mutex);
    Sqlite& db = database_->sqlite;
    if (mirror_ != nullptr) {
      Query row = db.query(std::string("select position from tokens where ") + condition);
      row.bind(stream).bind(position);
      while (row.step()) rows.push_back(token_row(row.number(0)));
    }
    db.query(std::string("delete from tokens where ") + condition)
        .bind(stream)
        .bind(position)
        .run();
  }
  tell_dropped(stream, rows);
}

}  // namespace runnel::serve
