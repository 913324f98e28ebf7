// A request and its reply, as protocols see them: without sockets.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel::serve {

struct Request {
  std::string method;  // "GET"
  std::string path;    // decoded, without the query
  std::map<std::string, std::string> query;
  std::map<std::string, std::string> headers;     // names in lower case
  std::map<std::string, std::string> parameters;  // of the route: "id" of /v1/responses/{id}
  std::string body;

  // Empty where there is none of the name.
  std::string header(const std::string& name) const { return value_of(headers, name); }
  std::string parameter(const std::string& name) const { return value_of(parameters, name); }
  std::string query_value(const std::string& name) const { return value_of(query, name); }

 private:
  static std::string value_of(const std::map<std::string, std::string>& values,
                              const std::string& name) {
    const auto at = values.find(name);
    return at == values.end() ? std::string() : at->second;
  }
};

// Where pieces go, one after another; a client takes them at its own pace. From any thread; what is
// sent to a client that is gone is dropped.
class Outlet {
 public:
  virtual ~Outlet() = default;
  virtual void write(std::string piece) = 0;
  // False: much of what was written waits for the client.
  virtual bool has_room() const { return true; }
  // Calls back once, when there is room; never, where the client leaves before.
  virtual void when_room(std::function<void()> call) { call(); }
};

// The answer to one request: whole, or a row of pieces.
class Reply : public Outlet {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;
  virtual void send(int status, std::string_view type, std::string body, Headers headers = {}) = 0;

  // In pieces: begin(), write() any number of times, end(). Where nothing is written for a while,
  // the server sends `ping` (none: nothing), so that nobody on the way gives up.
  virtual void begin(std::string_view type, std::string ping) = 0;
  virtual void end() = 0;

  // Called once, when the client leaves before the end, or reads so slowly that it is given up.
  virtual void on_gone(std::function<void()> gone) = 0;
};

using ReplyPtr = std::shared_ptr<Reply>;
using Handler = std::function<void(const Request&, const ReplyPtr&)>;

struct Route {
  std::string method;
  std::string path;  // "/v1/responses/{id}"
  Handler handler;
  bool needs_key = true;  // where the server has keys
};

// A conversation of messages on one connection, where the client has asked for a WebSocket.
class SocketTalk {
 public:
  virtual ~SocketTalk() = default;
  virtual void received(std::string message) = 0;
  virtual void closed() = 0;
};

// Each piece is a message.
using SocketSend = std::shared_ptr<Outlet>;

struct SocketRoute {
  std::string path;
  std::function<std::shared_ptr<SocketTalk>(const Request&, SocketSend)> open;
};

}  // namespace runnel::serve
