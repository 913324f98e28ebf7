// SQLite's C interface with owners: a database, and queries with their parameters and columns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace runnel::serve {

// One use of a prepared statement; when it goes, the statement is ready for the next.
class Query {
 public:
  Query(sqlite3* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query();

  Query& bind(std::string_view text);  // the parameters in their order
  Query& bind(std::int64_t number);
  Query& bind_blob(std::string_view bytes);
  bool step();  // true: a row
  void run() {  // to the end
    while (step()) {
    }
  }
  std::string text(int column) const;  // or bytes
  std::int64_t number(int column) const;

 private:
  void check(int code) const;

  sqlite3* database_;
  sqlite3_stmt* statement_;
  int n_bound_ = 0;
};

class Sqlite {
 public:
  explicit Sqlite(const std::string& path);  // ":memory:" too. Error: cannot be opened

  void execute(const std::string& sql);
  Query query(const std::string& sql);  // prepared once
  std::int64_t n_changed() const;

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::string path_;
  std::unique_ptr<sqlite3, Close> database_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>> statements_;
};

}  // namespace runnel::serve
