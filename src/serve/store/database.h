// What the store's files share.
#pragma once

#include <mutex>
#include <string>

#include "serve/store/sqlite.h"
#include "serve/store/store.h"

namespace runnel::serve {

struct Store::Database {
  std::mutex mutex;
  Sqlite sqlite;
  explicit Database(const std::string& path) : sqlite(path) {}
};

}  // namespace runnel::serve
