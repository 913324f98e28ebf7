// Which handler a request goes to.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/protocols/exchange.h"

namespace runnel::serve {

class Router {
 public:
  void add(std::vector<Route> routes);
  void add(SocketRoute route) { sockets_.push_back(std::move(route)); }

  // From now on everything but /health is refused with 503 and this reason, which lives for ever.
  // From any thread.
  void refuse_all(const char* reason) { refusal_ = reason; }

  // Called before each handler, which goes on when it wants. Before requests come.
  using Before = std::function<void(const Request&, const ReplyPtr&, std::function<void()> go_on)>;
  void set_before(Before before) { before_ = std::move(before); }

  // Calls the handler, with the route's parameters in the request; where there is none, or it
  // throws, replies itself.
  void handle(Request& request, const ReplyPtr& reply) const;
  const SocketRoute* socket(std::string_view path) const;
  bool needs_key(const Request& request) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  void dispatch(Request& request, const ReplyPtr& reply) const;

  std::vector<Route> routes_;
  std::vector<SocketRoute> sockets_;
  Before before_;
  std::atomic<const char*> refusal_ = nullptr;
};

// "/a%20b?c=d" into path and query. False: not a path that can be decoded.
bool split_target(std::string_view target, Request& request);

}  // namespace runnel::serve
