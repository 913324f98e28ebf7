#include "serve/store/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "runnel/error.h"

namespace runnel::serve {

Query::~Query() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Query::check(int code) const {
  if (code != SQLITE_OK) throw Error(fmt::format("the store: {}", sqlite3_errmsg(database_)));
}

Query& Query::bind(std::string_view text) {
  check(sqlite3_bind_text(statement_, ++n_bound_, text.data(), static_cast<int>(text.size()),
                          SQLITE_TRANSIENT));
  return *this;
}

Query& Query::bind(std::int64_t number) {
  check(sqlite3_bind_int64(statement_, ++n_bound_, number));
  return *this;
}

Query& Query::bind_blob(std::string_view bytes) {
  const char* const data = bytes.empty() ? "" : bytes.data();  // no bytes, but not null
  check(sqlite3_bind_blob64(statement_, ++n_bound_, data, bytes.size(), SQLITE_TRANSIENT));
  return *this;
}

bool Query::step() {
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE)
    throw Error(fmt::format("the store: {}", sqlite3_errmsg(database_)));
  return code == SQLITE_ROW;
}

std::string Query::text(int column) const {
  const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int n = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string() : std::string(bytes, static_cast<std::size_t>(n));
}

std::int64_t Query::number(int column) const { return sqlite3_column_int64(statement_, column); }

void Sqlite::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

void Sqlite::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Sqlite::Sqlite(const std::string& path) : path_(path) {
  sqlite3* opened = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &opened,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  database_.reset(opened);
  if (code != SQLITE_OK) throw Error(fmt::format("{}: {}", path, sqlite3_errstr(code)));
}

void Sqlite::execute(const std::string& sql) {
  char* message = nullptr;
  if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, &message) == SQLITE_OK) return;
  const std::string why = message != nullptr ? message : "?";
  sqlite3_free(message);
  throw Error(fmt::format("{}: {}", path_, why));
}

Query Sqlite::query(const std::string& sql) {
  auto at = statements_.find(sql);
  if (at == statements_.end()) {
    sqlite3_stmt* made = nullptr;
    const int code = sqlite3_prepare_v2(database_.get(), sql.c_str(), static_cast<int>(sql.size()),
                                        &made, nullptr);
    if (code != SQLITE_OK)
      throw Error(fmt::format("{}: {}", path_, sqlite3_errmsg(database_.get())));
    at = statements_.emplace(sql, made).first;
  }
  return {database_.get(), at->second.get()};
}

std::int64_t Sqlite::n_changed() const { return sqlite3_changes(database_.get()); }

}  // namespace runnel::serve
