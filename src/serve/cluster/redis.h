// A connection to Redis or Valkey: a command, and its answer. Connects anew where it was lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace runnel::serve {

struct RedisAddress {
  std::string host = "127.0.0.1";
  int port = 6379;
  std::string password;  // empty: none
  int database = 0;

  // "redis://[:PASSWORD@]HOST[:PORT][/DATABASE]". Error: something else.
  static RedisAddress parse(const std::string& url);
};

struct RedisValue {
  enum class Kind { kNothing, kNumber, kText, kList } kind = Kind::kNothing;
  std::int64_t number = 0;
  std::string text;
  std::vector<RedisValue> list;
};

class Redis {
 public:
  // Error: nobody answers there.
  explicit Redis(const RedisAddress& address);
  ~Redis();
  Redis(const Redis&) = delete;
  Redis& operator=(const Redis&) = delete;

  // From any thread, one at a time. Error: the connection, or what the other side says.
  RedisValue command(const std::vector<std::string>& words);
  // Several at once; Error after all have been sent, where one failed.
  std::vector<RedisValue> commands(const std::vector<std::vector<std::string>>& all);

 private:
  struct Connection;
  void connect();
  std::vector<RedisValue> try_commands(const std::vector<std::vector<std::string>>& all);

  RedisAddress address_;
  std::mutex mutex_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace runnel::serve
